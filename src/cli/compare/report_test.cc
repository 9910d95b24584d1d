#include "cli/compare/report.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/compare/json.h"
#include "cli/compare/text.h"

namespace quire {
namespace {

using testing::HasSubstr;
using testing::Not;

using Ids = std::vector<int32_t>;

CompareCell cell_of(const Ids& token_ids) {
  CompareCell cell;
  cell.together = {.text = "text",
                   .token_ids = token_ids,
                   .sum_logprob = -0.5 * static_cast<double>(token_ids.size()),
                   .ttft_s = 0.010,
                   .decode_s = 0.1};
  cell.alone = cell.together;
  cell.alone.ttft_s = 0.004;
  return cell;
}

CompareColumn adapter_column(const std::string& name) {
  CompareColumn column;
  column.name = name;
  column.path = "somewhere/" + name;
  column.rank = 8;
  column.weight_bytes = 900;
  column.arena_bytes = 1024;
  return column;
}

// Two prompts through the base model, an adapter that changes the second answer, and one that
// changes nothing.
CompareReport make_report() {
  CompareReport report;
  report.model = "m";
  report.engine.block_size = 16;
  report.engine.vocab_size = 100;
  report.engine.weight_bytes = 10240;
  CompareResult& result = report.result;
  result.columns.resize(1);
  result.columns[0].name = "base";
  result.columns.push_back(adapter_column("some"));
  result.columns.push_back(adapter_column("none"));
  for (const int num_tokens : {33, 32}) {
    ComparePrompt prompt;
    prompt.location = "--prompt";
    prompt.text = "question";
    prompt.token_ids.resize(static_cast<size_t>(num_tokens));
    result.prompts.push_back(prompt);
  }
  result.cells = {{cell_of({1, 2, 3}), cell_of({1, 2, 3}), cell_of({1, 2, 3})},
                  {cell_of({4, 5, 6}), cell_of({4, 9}), cell_of({4, 5, 6})}};
  result.cells[0][1].kl_to_base = 0.5;
  result.cells[1][1].kl_to_base = 1.0;
  result.cells[0][1].num_cached_tokens = 32;
  report.verdict = judge(result);
  return report;
}

TEST(Judge, FindsAdaptersThatChangeNoAnswer) {
  const CompareReport report = make_report();
  ASSERT_EQ(report.verdict.equal_to_base.size(), 1U);
  EXPECT_EQ(report.verdict.equal_to_base[0].column, 2U);
  EXPECT_FALSE(report.verdict.equal_to_base[0].is_applied);
  EXPECT_TRUE(report.verdict.differences.empty());
}

TEST(Judge, TakesOtherProbabilitiesAsASignThatAnAdapterIsApplied) {
  CompareReport report = make_report();
  report.result.cells[1][2].kl_to_base = 1e-6;
  EXPECT_TRUE(judge(report.result).equal_to_base.at(0).is_applied);
}

TEST(Judge, FindsAnswersThatDependOnTheBatch) {
  CompareReport report = make_report();
  report.result.cells[1][0].alone.token_ids = {4, 5, 7};
  const CompareVerdict verdict = judge(report.result);
  ASSERT_EQ(verdict.differences.size(), 1U);
  EXPECT_EQ(verdict.differences[0].prompt, 1U);
  EXPECT_EQ(verdict.differences[0].column, 0U);
  EXPECT_EQ(verdict.differences[0].token, 2U);
}

TEST(MetricsOf, AddsTokensAndAveragesTheRest) {
  const std::vector<CompareMetrics> all = metrics_of(make_report().result, 0, 2);
  ASSERT_EQ(all.size(), 3U);
  EXPECT_EQ(all[1].num_tokens, 5U);
  EXPECT_EQ(all[1].num_equal, 1U);
  EXPECT_EQ(all[2].num_equal, 2U);
  EXPECT_DOUBLE_EQ(all[1].mean_logprob, -0.5);
  EXPECT_DOUBLE_EQ(all[1].kl_to_base, 0.75);
  EXPECT_DOUBLE_EQ(all[1].ttft_ms, 10);
  EXPECT_DOUBLE_EQ(all[1].ttft_alone_ms, 4);
  EXPECT_DOUBLE_EQ(*all[1].tokens_per_second, 15);  // 2 and 1 tokens after the first, in 0.1 s each
}

TEST(MetricsOf, HasNoRateOfASingleToken) {
  CompareReport report = make_report();
  report.result.cells[1][1] = cell_of({4});
  EXPECT_FALSE(metrics_of(report.result, 1, 2)[1].tokens_per_second);
  EXPECT_TRUE(json_report(report)["prompts"][1]["outputs"][1]["tokens_per_second"].is_null());
}

TEST(CacheHits, AreMeasuredAgainstWholeBlocksBeforeTheLastToken) {
  const CompareCacheHits hits = cache_hits(make_report());
  EXPECT_EQ(hits.num_prompt_tokens, 3 * (33 + 32));
  EXPECT_EQ(hits.whole_blocks, 3 * (32 + 16));
  EXPECT_EQ(hits.together, 0);
  EXPECT_EQ(hits.again, 32);
}

TEST(TextReport, SaysWhatDivergesAndWhatDoesNot) {
  const std::string text = text_report(make_report(), 250);
  EXPECT_THAT(text, HasSubstr("Prompt 2 of 2: question"));
  EXPECT_THAT(text, testing::ContainsRegex("diverges at +- +never +never\n"));
  EXPECT_THAT(text, testing::ContainsRegex("diverges at +- +1 +never\n"));
  EXPECT_THAT(text, testing::ContainsRegex("same as base +- +1 of 2 +2 of 2\n"));
  EXPECT_THAT(text, HasSubstr("over all 100 tokens"));
  EXPECT_THAT(text, HasSubstr("weights 10.0 KiB and adapters 2.0 KiB, 12.0 KiB in all"));
  EXPECT_THAT(text, HasSubstr("30.0 KiB (-60.0 % here)"));
  EXPECT_THAT(text, HasSubstr("the same tokens in all 6 requests"));
  EXPECT_THAT(text, HasSubstr("THE BASE MODEL'S ANSWERS to all prompts: none (nothing shows"));
}

TEST(TextReport, NamesRequestsThatDependOnTheBatch) {
  CompareReport report = make_report();
  report.result.cells[1][1].alone.token_ids = {4, 5};
  report.verdict = judge(report.result);
  const std::string text = text_report(report, 100);
  EXPECT_THAT(text,
              HasSubstr("OTHER TOKENS in 1 of 6 requests:\n  --prompt with some, from token 1"));
  EXPECT_THAT(text, Not(HasSubstr("the same tokens in all")));
  const auto checks = json_report(report)["checks"];
  EXPECT_EQ(checks["batch_independent"], false);
  EXPECT_EQ(checks["differences"].dump(), R"([{"index":1,"adapter":"some","token":1}])");
}

TEST(TextReport, ShowsTheBeginningOfLongPrompts) {
  CompareReport report = make_report();
  std::string& prompt = report.result.prompts[0].text;
  for (int i = 0; i < 100; ++i) prompt += fmt::format("\nline {}", i);
  const std::string text = text_report(report, 60);
  EXPECT_THAT(text, HasSubstr("line 2\n...\n\n"));
  EXPECT_THAT(text, Not(HasSubstr("line 3\n")));
}

}  // namespace
}  // namespace quire
