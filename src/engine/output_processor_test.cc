#include "engine/output_processor.h"

#include <gtest/gtest.h>

#include "support/byte_tokenizer.h"

namespace quire {
namespace {

const ByteTokenizer& tokenizer() {
  static const ByteTokenizer instance({"hello", " world"});
  return instance;
}

OutputProcessor make_processor(SamplingParams params) {
  return {&tokenizer(), std::make_shared<const SamplingParams>(std::move(params)), {'p'}, 0};
}

StepResult step(std::vector<int32_t> ids, std::optional<FinishReason> finish = std::nullopt) {
  StepResult result;
  result.new_token_ids = std::move(ids);
  result.finish_reason = finish;
  return result;
}

// Feeds `text` one token at a time until the processor has finished.
struct Streamed {
  std::vector<std::string> pieces;
  CompletionOutput last;
  std::string text() const {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    return all;
  }
};
Streamed stream(OutputProcessor& processor, const std::vector<int32_t>& ids,
                FinishReason finish = FinishReason::kLength) {
  Streamed result;
  for (size_t i = 0; i < ids.size() && !processor.finished(); ++i) {
    const bool is_last = i + 1 == ids.size();
    result.last = processor.process(step({ids[i]}, is_last ? std::optional(finish) : std::nullopt));
    result.pieces.push_back(result.last.text);
  }
  return result;
}

std::vector<int32_t> bytes(std::string_view text) {
  std::vector<int32_t> ids;
  for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
  return ids;
}

TEST(OutputProcessor, StreamsTextAndTokens) {
  OutputProcessor processor = make_processor({});
  const Streamed result = stream(processor, {256, 257, '!'});
  EXPECT_EQ(result.pieces, (std::vector<std::string>{"hello", " world", "!"}));
  EXPECT_EQ(result.last.finish_reason, FinishReason::kLength);
  EXPECT_EQ(result.last.token_ids, std::vector<int32_t>{'!'});
  EXPECT_EQ(processor.num_output_tokens(), 3);
}

TEST(OutputProcessor, HoldsBackWhatMayBeginAStopString) {
  SamplingParams params;
  params.stop = {"END"};
  OutputProcessor processor = make_processor(params);
  const Streamed result = stream(processor, bytes("aENbEND and more"));
  EXPECT_EQ(result.pieces, (std::vector<std::string>{"a", "", "", "ENb", "", "", ""}));
  EXPECT_EQ(result.last.finish_reason, FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(result.last.stop_reason), "END");
}

TEST(OutputProcessor, IncludesTheStopStringIfAsked) {
  SamplingParams params;
  params.stop = {"END"};
  params.include_stop_str_in_output = true;
  OutputProcessor processor = make_processor(params);
  EXPECT_EQ(stream(processor, bytes("abENDxyz")).text(), "abEND");
}

TEST(OutputProcessor, CutsInsideTheTokenThatCompletesTheStopString) {
  SamplingParams params;
  params.stop = {"wor"};
  OutputProcessor processor = make_processor(params);
  const Streamed result = stream(processor, {256, 257, '!'});
  EXPECT_EQ(result.text(), "hello ");
  EXPECT_EQ(result.last.token_ids, std::vector<int32_t>{257});
}

TEST(OutputProcessor, ReleasesHeldTextAtTheEnd) {
  SamplingParams params;
  params.stop = {"END"};
  OutputProcessor processor = make_processor(params);
  EXPECT_EQ(stream(processor, bytes("abEN")).text(), "abEN");
}

TEST(OutputProcessor, IgnoresStopStringsBelowMinTokens) {
  SamplingParams params;
  params.stop = {"x"};
  params.min_tokens = 3;
  OutputProcessor processor = make_processor(params);
  EXPECT_EQ(stream(processor, bytes("xxxaxb")).text(), "xxxa");
}

TEST(OutputProcessor, LeavesTheStopTokenOutOfTheText) {
  for (const bool include : {false, true}) {
    SamplingParams params;
    params.include_stop_str_in_output = include;
    OutputProcessor processor = make_processor(params);
    const Streamed result = stream(processor, {256, '.'}, FinishReason::kStop);
    EXPECT_EQ(result.text(), include ? "hello." : "hello");
    EXPECT_EQ(result.last.token_ids, std::vector<int32_t>{'.'});
  }
}

TEST(OutputProcessor, NeverEndsAPieceInsideACharacter) {
  OutputProcessor processor = make_processor({});
  const Streamed result = stream(processor, bytes("\xE2\x82\xAC!"));
  EXPECT_EQ(result.text(), "\xE2\x82\xAC!");
  EXPECT_EQ(result.pieces[0] + result.pieces[1], "");
}

TEST(OutputProcessor, IncompleteCharactersBecomeReplacementCharactersAtTheEnd) {
  OutputProcessor processor = make_processor({});
  EXPECT_EQ(stream(processor, bytes("a\xE2")).text(), "a\xEF\xBF\xBD");
}

TEST(OutputProcessor, WithoutDetokenisationThereIsNoText) {
  SamplingParams params;
  params.detokenize = false;
  OutputProcessor processor = make_processor(params);
  const Streamed result = stream(processor, {256, 257});
  EXPECT_EQ(result.text(), "");
  EXPECT_EQ(processor.num_output_tokens(), 2);
}

TEST(OutputProcessor, AttachesBytesAndSumsLogprobs) {
  SamplingParams params;
  params.logprobs = 1;
  OutputProcessor processor = make_processor(params);
  StepResult result = step({256});
  result.logprobs = {
      {.token_id = 256, .logprob = -1.5F, .rank = 2, .top_ids = {0xE2}, .top_logprobs = {-0.5F}}};
  CompletionOutput output = processor.process(std::move(result));
  ASSERT_EQ(output.logprobs.size(), 1U);
  ASSERT_EQ(output.logprobs[0].size(), 2U);
  EXPECT_EQ(output.logprobs[0][0].bytes, "hello");
  EXPECT_EQ(output.logprobs[0][0].rank, 2);
  EXPECT_EQ(output.logprobs[0][1].bytes, "\xE2");
  EXPECT_EQ(output.logprobs[0][1].rank, 1);
  result = step({257}, FinishReason::kLength);
  result.logprobs = {
      {.token_id = 257, .logprob = -0.25F, .rank = 1, .top_ids = {}, .top_logprobs = {}}};
  output = processor.process(std::move(result));
  EXPECT_DOUBLE_EQ(output.cumulative_logprob, -1.75);
}

TEST(OutputProcessor, GathersPromptLogprobsBehindAnEmptyPosition) {
  SamplingParams params;
  params.prompt_logprobs = 0;
  OutputProcessor processor = make_processor(params);
  for (const int32_t id : {65, 66}) {
    StepResult result;
    result.prompt_logprobs = {
        {.token_id = id, .logprob = -1.0F, .rank = 1, .top_ids = {}, .top_logprobs = {}}};
    processor.process(std::move(result));
  }
  const std::vector<PositionLogprobs> prompt = processor.take_prompt_logprobs();
  ASSERT_EQ(prompt.size(), 3U);
  EXPECT_TRUE(prompt[0].empty());
  EXPECT_EQ(prompt[1][0].bytes, "A");
  EXPECT_EQ(prompt[2][0].bytes, "B");
}

}  // namespace
}  // namespace quire
