#include "cli/prompt_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using testing::HasSubstr;

TEST(PromptLine, AcceptsAllForms) {
  EXPECT_EQ(std::get<std::string>(parse_prompt_line(R"("plain")")->prompt), "plain");
  EXPECT_EQ(std::get<std::string>(parse_prompt_line(R"({"prompt": "p", "answer": 4})")->prompt),
            "p");
  EXPECT_EQ(
      std::get<std::vector<int32_t>>(parse_prompt_line(R"({"prompt_token_ids": [1, 2]})")->prompt),
      (std::vector<int32_t>{1, 2}));
  const auto chat = parse_prompt_line(
      R"({"messages": [{"role": "user", "content": "hi"}], "id": "q7", "temperature": 0.5, "max_tokens": 3})");
  ASSERT_TRUE(chat);
  EXPECT_EQ(std::get<nlohmann::ordered_json>(chat->prompt)[0]["content"], "hi");
  EXPECT_EQ(chat->id, "q7");
  EXPECT_EQ(chat->sampling.size(), 2U);
}

TEST(PromptLine, NamesAnAdapter) {
  EXPECT_EQ(parse_prompt_line(R"({"prompt": "p", "lora": "a"})")->lora, "a");
  EXPECT_EQ(parse_prompt_line(R"({"prompt": "p", "lora": null})")->lora, "");
  EXPECT_EQ(parse_prompt_line(R"({"prompt": "p", "model": "m"})")->model, "m");
  EXPECT_FALSE(parse_prompt_line(R"({"prompt": "p", "model": {"of": "another program"}})")->model);
  EXPECT_FALSE(parse_prompt_line(R"("p")")->lora);
}

TEST(PromptLine, RefusesWithAReason) {
  struct Case {
    const char* line;
    const char* reason;
  };
  for (const Case& c : {Case{"{", "not JSON"},
                        {"[1]", "neither"},
                        {"{}", "exactly one"},
                        {R"({"prompt": "a", "messages": []})", "exactly one"},
                        {R"({"prompt": 3})", "string"},
                        {R"({"prompt": "a", "lora": 3})", "adapter"},
                        {R"({"messages": []})", "not empty"},
                        {R"({"messages": [{"content": "x"}]})", "role"},
                        {R"({"prompt_token_ids": [1, -2]})", "token ids"},
                        {R"({"prompt_token_ids": [1.5]})", "token ids"},
                        {R"({"prompt": "a", "temperature": "hot"})", "temperature"}}) {
    const auto parsed = parse_prompt_line(c.line);
    ASSERT_FALSE(parsed) << c.line;
    EXPECT_THAT(parsed.error(), HasSubstr(c.reason)) << c.line;
  }
}

TEST(PromptReader, KeepsPhysicalLineNumbersAcrossBlankLines) {
  const TempDir dir;
  PromptReader reader(dir.write("in.jsonl", "\"a\"\n\n  \n\"b\"\r\n\"c\""));
  std::vector<int64_t> indices;
  while (const auto line = reader.next()) {
    indices.push_back(line->index);
  }
  EXPECT_EQ(indices, (std::vector<int64_t>{0, 3, 4}));
}

TEST(PromptFileScan, NamesFileAndLineOfABadPrompt) {
  const TempDir dir;
  const std::string path = dir.write("in.jsonl", "\"a\"\n\"b\"\n{bad\n");
  try {
    scan_prompt_file(path, BadLines::kRefuse);
    FAIL() << "the bad line went unnoticed";
  } catch (const LoadError& error) {
    EXPECT_THAT(error.what(), HasSubstr("in.jsonl:3: is not JSON"));
  }
  EXPECT_EQ(scan_prompt_file(path, BadLines::kSkip).num_prompts, 3);
  EXPECT_THROW(scan_prompt_file(dir.write("empty", ""), BadLines::kRefuse), LoadError);
  EXPECT_THROW(scan_prompt_file(dir.path() + "/absent", BadLines::kRefuse), LoadError);
}

TEST(PromptFileScan, FingerprintSeesEveryByteAndTheOrder) {
  const TempDir dir;
  const std::string content = "\"first prompt\"\n\"second\"\n\"third one\"\n";
  const uint64_t original = scan_prompt_file(dir.write("a", content), BadLines::kSkip).fingerprint;
  EXPECT_EQ(scan_prompt_file(dir.write("b", content), BadLines::kSkip).fingerprint, original);
  for (size_t i = 0; i < content.size(); ++i) {
    std::string changed = content;
    changed[i] = 'x';
    EXPECT_NE(scan_prompt_file(dir.write("c", changed), BadLines::kSkip).fingerprint, original)
        << i;
  }
  const std::string swapped = "\"second\"\n\"first prompt\"\n\"third one\"\n";
  EXPECT_NE(scan_prompt_file(dir.write("d", swapped), BadLines::kSkip).fingerprint, original);
}

TEST(PromptSeed, DiffersByIndexAndBaseAndLeavesRoom) {
  std::set<int64_t> seeds;
  for (uint64_t base = 0; base < 4; ++base) {
    for (int64_t index = 0; index < 1000; ++index) {
      const int64_t seed = prompt_seed(base, index);
      EXPECT_GE(seed, 0);
      EXPECT_LT(seed, int64_t{1} << 62);
      seeds.insert(seed);
    }
  }
  EXPECT_EQ(seeds.size(), 4000U);
  EXPECT_EQ(prompt_seed(1, 2), prompt_seed(1, 2));
}

}  // namespace
}  // namespace quire
