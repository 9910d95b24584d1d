// LLM(options).generate(prompts, params) with the bundled tokenizer and random weights.
#include "quire/llm.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>

#include "support/temp_dir.h"

namespace quire {
namespace {

constexpr const char* kConfig = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float32",
  "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
  "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 6144, "max_position_embeddings": 256,
  "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "tie_word_embeddings": true,
  "bos_token_id": 0, "eos_token_id": 1})";

class LLMTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = std::make_unique<TempDir>();
    directory_->write("config.json", kConfig);
    for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
      std::filesystem::copy_file(std::string(QUIRE_SOURCE_DIR "/models/quire-demo/") + name,
                                 directory_->path() + "/" + name);
    }
    LLMOptions options;
    options.model = directory_->path();
    options.load_format = "dummy";
    options.num_threads = 1;
    llm_ = std::make_unique<LLM>(options);
  }
  static void TearDownTestSuite() {
    llm_.reset();
    directory_.reset();
  }
  static SamplingParams greedy() {
    SamplingParams params;
    params.temperature = 0.0F;
    params.ignore_eos = true;
    return params;
  }

  static std::unique_ptr<TempDir> directory_;
  static std::unique_ptr<LLM> llm_;
};
std::unique_ptr<TempDir> LLMTest::directory_;
std::unique_ptr<LLM> LLMTest::llm_;

TEST_F(LLMTest, AnswersInTheOrderOfThePrompts) {
  std::vector<Prompt> prompts;
  std::vector<SamplingParams> params;
  for (int i = 0; i < 12; ++i) {
    prompts.emplace_back("Prompt number " + std::to_string(i));
    params.push_back(greedy());
    params.back().max_tokens = 12 - i;  // later prompts finish first
  }
  std::vector<size_t> finished;
  const std::vector<RequestOutput> outputs =
      llm_->generate(prompts, params, [&](size_t index, const RequestOutput& output) {
        EXPECT_TRUE(output.finished);
        finished.push_back(index);
      });
  ASSERT_EQ(outputs.size(), 12U);
  EXPECT_EQ(finished.size(), 12U);
  for (size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(outputs[i].prompt, std::get<std::string>(prompts[i]));
    ASSERT_EQ(outputs[i].outputs.size(), 1U);
    EXPECT_EQ(outputs[i].outputs[0].token_ids.size(), 12 - i);
    EXPECT_FALSE(outputs[i].outputs[0].text.empty());
    EXPECT_EQ(outputs[i].outputs[0].finish_reason, FinishReason::kLength);
  }
}

TEST_F(LLMTest, TextAndTokenIdsAreTheSamePrompt) {
  const std::vector<RequestOutput> text = llm_->generate({Prompt("Hello there")}, greedy());
  const std::vector<RequestOutput> ids =
      llm_->generate({Prompt(text[0].prompt_token_ids)}, greedy());
  EXPECT_EQ(text[0].outputs[0].token_ids, ids[0].outputs[0].token_ids);
  EXPECT_EQ(text[0].outputs[0].text, ids[0].outputs[0].text);
}

TEST_F(LLMTest, AStopStringEndsTheTextBeforeIt) {
  SamplingParams params = greedy();
  params.max_tokens = 24;
  const std::string whole = llm_->generate({Prompt("Once")}, params)[0].outputs[0].text;
  ASSERT_GT(whole.size(), 8U);
  params.stop = {whole.substr(whole.size() / 2, 3)};
  const CompletionOutput stopped = llm_->generate({Prompt("Once")}, params)[0].outputs[0];
  EXPECT_EQ(stopped.text, whole.substr(0, whole.find(params.stop[0])));
  EXPECT_EQ(stopped.finish_reason, FinishReason::kStop);
  EXPECT_EQ(std::get<std::string>(stopped.stop_reason), params.stop[0]);
  EXPECT_LT(stopped.token_ids.size(), 24U);
}

TEST_F(LLMTest, ChildrenOfOnePromptDifferAndASeedRepeatsThem) {
  SamplingParams params;
  params.n = 3;
  params.seed = 7;
  params.ignore_eos = true;
  const std::vector<CompletionOutput> first = llm_->generate({Prompt("Once")}, params)[0].outputs;
  const std::vector<CompletionOutput> again = llm_->generate({Prompt("Once")}, params)[0].outputs;
  ASSERT_EQ(first.size(), 3U);
  EXPECT_NE(first[0].token_ids, first[1].token_ids);
  EXPECT_NE(first[1].token_ids, first[2].token_ids);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(first[i].index, static_cast<int>(i));
    EXPECT_EQ(first[i].token_ids, again[i].token_ids);
  }
}

TEST_F(LLMTest, ReportsLogprobsOfPromptAndOutput) {
  SamplingParams params = greedy();
  params.max_tokens = 4;
  params.logprobs = 2;
  params.prompt_logprobs = 1;
  const RequestOutput output = llm_->generate({Prompt("Some words to score")}, params)[0];
  ASSERT_EQ(output.prompt_logprobs.size(), output.prompt_token_ids.size());
  EXPECT_TRUE(output.prompt_logprobs[0].empty());
  for (size_t i = 1; i < output.prompt_logprobs.size(); ++i) {
    ASSERT_EQ(output.prompt_logprobs[i].size(), 2U);
    EXPECT_EQ(output.prompt_logprobs[i][0].token_id, output.prompt_token_ids[i]);
  }
  const CompletionOutput& completion = output.outputs[0];
  ASSERT_EQ(completion.logprobs.size(), 4U);
  double sum = 0.0;
  for (const PositionLogprobs& position : completion.logprobs) {
    ASSERT_EQ(position.size(), 3U);
    EXPECT_EQ(position[0].rank, 1) << "greedy";
    sum += static_cast<double>(position[0].logprob);
  }
  EXPECT_DOUBLE_EQ(completion.cumulative_logprob, sum);
}

TEST_F(LLMTest, BadParametersThrowAndTheEngineGoesOn) {
  SamplingParams params;
  params.top_p = 0.0F;
  EXPECT_THROW(llm_->generate({Prompt("x")}, params), std::invalid_argument);
  EXPECT_THROW(llm_->generate({Prompt(std::vector<int32_t>{})}, greedy()), std::invalid_argument);
  EXPECT_THROW(llm_->generate({Prompt(std::vector<int32_t>(300, 5))}, greedy()),
               std::invalid_argument);
  EXPECT_EQ(llm_->generate({Prompt("x")}, greedy()).size(), 1U);
}

TEST_F(LLMTest, ACallbackThatThrowsLeavesNothingBehind) {
  const std::vector<Prompt> prompts(6, Prompt("Once"));
  const std::vector<SamplingParams> params(6, greedy());
  EXPECT_THROW(
      llm_->generate(prompts, params,
                     [](size_t, const RequestOutput&) { throw std::runtime_error("enough"); }),
      std::runtime_error);
  EXPECT_EQ(llm_->generate(prompts, greedy()).size(), 6U);
}

TEST(LLM, AModelThatIsNotThereCannotBeLoaded) {
  LLMOptions options;
  options.model = "nobody/nothing";
  EXPECT_THROW(LLM llm(options), std::runtime_error);
}

}  // namespace
}  // namespace quire
