#include "engine/logits_processors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string_view>

#include "engine/logit_adjuster.h"

namespace quire {
namespace {

struct RowSpec {
  std::vector<int32_t> prompt = {0};
  std::vector<int32_t> output;
  SamplingParams params;
  std::vector<int32_t> eos_token_ids;
  std::vector<std::vector<int32_t>> bad_words;
};

// The row as the device would keep it.
RequestRow make_row(const RowSpec& spec) {
  auto request = std::make_shared<EngineRequest>();
  request->prompt_token_ids = spec.prompt;
  request->params = std::make_shared<const SamplingParams>(spec.params);
  request->max_tokens = 16;
  request->eos_token_ids = spec.eos_token_ids;
  request->bad_words_token_ids = spec.bad_words;
  SchedulerOutput step;
  step.new_requests = {{.id = 1, .request = request, .output_token_ids = spec.output}};
  RequestRows rows;
  rows.apply(step);
  return rows.at(1);
}

// The logits 1, 1, ... after the named processor, or nothing if it does not apply.
std::vector<float> run(std::string_view name, const RowSpec& spec,
                       std::vector<float> logits = std::vector<float>(6, 1.0F)) {
  const RequestRow row = make_row(spec);
  for (const LogitsProcessor& processor : logits_processors()) {
    if (processor.name != name) continue;
    if (!processor.applies(row)) return {};
    LogitAdjustments lists;
    processor.apply(row, lists);
    ThreadPool pool({.num_threads = 1, .pin_threads = false});
    Stream stream(pool);
    LogitAdjuster adjuster(kernels_for("reference"));
    adjuster.add(0, row.params(), lists);
    const auto vocab = static_cast<int64_t>(logits.size());
    adjuster.run(stream, TensorView(logits.data(), {1, vocab}, DType::kF32));
    return logits;
  }
  ADD_FAILURE() << "no processor " << name;
  return {};
}

std::vector<int32_t> masked(const std::vector<float>& logits) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isinf(logits[i])) ids.push_back(static_cast<int32_t>(i));
  }
  return ids;
}

using Ids = std::vector<int32_t>;

TEST(LogitsProcessors, NoneAppliesByDefault) {
  const RequestRow row = make_row({});
  for (const LogitsProcessor& processor : logits_processors()) {
    EXPECT_FALSE(processor.applies(row)) << processor.name;
  }
}

TEST(LogitsProcessors, AllowedTokenIdsMaskTheRest) {
  RowSpec spec;
  spec.params.allowed_token_ids = {1, 2, 4};
  EXPECT_EQ(masked(run("allowed_token_ids", spec)), (Ids{0, 3, 5}));
  spec.params.allowed_token_ids = {0, 5};
  EXPECT_EQ(masked(run("allowed_token_ids", spec)), (Ids{1, 2, 3, 4}));
}

TEST(LogitsProcessors, BadWordsMaskTheLastTokenOnceTheOthersAreThere) {
  RowSpec spec{.prompt = {1, 2},
               .output = {},
               .params = {},
               .eos_token_ids = {},
               .bad_words = {{5}, {1, 2, 3}}};
  EXPECT_EQ(masked(run("bad_words", spec)), Ids{5}) << "the prompt does not count";
  spec.output = {4, 1, 2};
  EXPECT_EQ(masked(run("bad_words", spec)), (Ids{3, 5}));
  spec.output = {1, 2, 4};
  EXPECT_EQ(masked(run("bad_words", spec)), Ids{5});
}

TEST(LogitsProcessors, MinTokensMaskEosAndStopTokensUntilReached) {
  RowSpec spec{.prompt = {0}, .output = {1}, .params = {}, .eos_token_ids = {2}, .bad_words = {}};
  spec.params.min_tokens = 2;
  spec.params.stop_token_ids = {4};
  EXPECT_EQ(masked(run("min_tokens", spec)), (Ids{2, 4}));
  spec.output = {1, 1};
  EXPECT_TRUE(run("min_tokens", spec).empty()) << "does not apply any more";
}

TEST(LogitsProcessors, LogitBiasIsAdded) {
  RowSpec spec;
  spec.params.logit_bias = {{1, 2.5F}, {3, -100.0F}};
  EXPECT_EQ(run("logit_bias", spec), (std::vector<float>{1, 3.5F, 1, -99, 1, 1}));
}

TEST(LogitsProcessors, PresenceAndFrequencyCountGeneratedTokensOnly) {
  RowSpec spec{
      .prompt = {0, 0, 1}, .output = {1, 2, 2}, .params = {}, .eos_token_ids = {}, .bad_words = {}};
  spec.params.presence_penalty = 0.5F;
  EXPECT_EQ(run("penalties", spec), (std::vector<float>{1, 0.5F, 0.5F, 1, 1, 1}));
  spec.params.frequency_penalty = 0.25F;
  EXPECT_EQ(run("penalties", spec), (std::vector<float>{1, 0.25F, 0, 1, 1, 1}));
}

TEST(LogitsProcessors, RepetitionPenaltyCountsThePromptAndShrinksBothSigns) {
  RowSpec spec{.prompt = {0}, .output = {1}, .params = {}, .eos_token_ids = {}, .bad_words = {}};
  spec.params.repetition_penalty = 2.0F;
  EXPECT_EQ(run("penalties", spec, {4, -4, 4, -4}), (std::vector<float>{2, -8, 4, -4}));
}

}  // namespace
}  // namespace quire
