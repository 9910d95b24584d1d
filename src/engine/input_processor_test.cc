#include "engine/input_processor.h"

#include <gtest/gtest.h>

#include <set>

#include "support/byte_tokenizer.h"

namespace quire {
namespace {

// Only what the door asks of an engine.
class FakeEngine final : public EngineClient {
 public:
  FakeEngine() {
    info_.max_model_len = 32;
    info_.vocab_size = 300;
    info_.eos_token_ids = {2};
    info_.seed = 11;
  }
  RequestId next_id() override { return ++last_id_; }
  Expected<void, RequestError> add(EngineRequest, StepSink) override { return {}; }
  void abort(RequestId) override {}
  bool reset_prefix_cache() override { return true; }
  EngineStats stats() const override { return {}; }
  DeviceMemory device_memory() const override { return {}; }
  const EngineInfo& info() const override { return info_; }

 private:
  EngineInfo info_;
  RequestId last_id_ = 0;
};

class InputProcessorTest : public testing::Test {
 protected:
  auto process(std::vector<int32_t> ids, SamplingParams params = {}) {
    return processor_.process({.token_ids = std::move(ids),
                               .params = std::move(params),
                               .priority = 3,
                               .cache_salt = "s"});
  }
  RequestError error_of(std::vector<int32_t> ids, SamplingParams params = {}) {
    auto result = process(std::move(ids), std::move(params));
    EXPECT_FALSE(result);
    return result ? RequestError{} : result.error();
  }

  FakeEngine engine_;
  ByteTokenizer tokenizer_{{"cat", " cat", " dog"}};
  InputProcessor processor_{engine_, &tokenizer_, SamplingLimits{}};
};

TEST_F(InputProcessorTest, FillsTheEngineRequest) {
  const auto requests = process({1, 2, 3});
  ASSERT_TRUE(requests);
  ASSERT_EQ(requests.value().size(), 1U);
  const EngineRequest& request = requests.value()[0];
  EXPECT_EQ(request.prompt_token_ids, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(request.max_tokens, 16);
  EXPECT_EQ(request.eos_token_ids, std::vector<int32_t>{2});
  EXPECT_EQ(request.priority, 3);
  EXPECT_EQ(request.cache_salt, "s");
  EXPECT_GT(request.arrival_time_s, 0.0);
}

TEST_F(InputProcessorTest, RefusesBadPrompts) {
  EXPECT_EQ(error_of({}).param, "prompt");
  EXPECT_EQ(error_of({300}).param, "prompt");
  EXPECT_EQ(error_of({-1}).http_status, 400);
}

TEST_F(InputProcessorTest, NamesTheParameterOutOfRange) {
  SamplingParams params;
  params.top_p = 0.0F;
  const RequestError error = error_of({1}, params);
  EXPECT_EQ(error.param, "top_p");
  EXPECT_EQ(error.http_status, 400);
  params = {};
  params.stop_token_ids = {300};
  EXPECT_EQ(error_of({1}, params).param, "stop_token_ids") << "the vocabulary is the engine's";
}

TEST_F(InputProcessorTest, RefusesWhatExceedsTheContext) {
  SamplingParams params;
  params.max_tokens = 30;
  EXPECT_TRUE(process({1, 2}, params));
  const RequestError error = error_of({1, 2, 3}, params);
  EXPECT_EQ(error.code, "context_length_exceeded");
  EXPECT_NE(error.message.find("32"), std::string::npos);
  EXPECT_NE(error.message.find("33"), std::string::npos);
  params.max_tokens.reset();
  EXPECT_EQ(error_of(std::vector<int32_t>(32, 1), params).code, "context_length_exceeded");
  params.min_tokens = 31;
  EXPECT_EQ(error_of({1, 2}, params).code, "context_length_exceeded");
}

TEST_F(InputProcessorTest, WithoutMaxTokensTheContextIsTheLimit) {
  SamplingParams params;
  params.max_tokens.reset();
  EXPECT_EQ(process({1, 2}, params).value()[0].max_tokens, 30);
}

TEST_F(InputProcessorTest, ChildrenOfASeedCountUp) {
  SamplingParams params;
  params.n = 3;
  params.seed = 40;
  const auto requests = process({1}, params);
  ASSERT_TRUE(requests);
  std::set<RequestId> ids;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(requests.value()[i].seed, 40 + i);
    ids.insert(requests.value()[i].id);
  }
  EXPECT_EQ(ids.size(), 3U);
}

TEST_F(InputProcessorTest, UnseededRequestsDiffer) {
  SamplingParams params;
  params.n = 2;
  params.seed = -1;
  std::set<uint64_t> seeds;
  for (int i = 0; i < 4; ++i) {
    const auto requests = process({1}, params);
    for (const EngineRequest& request : requests.value()) seeds.insert(request.seed);
  }
  EXPECT_EQ(seeds.size(), 8U);
}

TEST_F(InputProcessorTest, KeepsTheEndTokensForMinTokensEvenIfTheyDoNotStop) {
  SamplingParams params;
  params.ignore_eos = true;
  EXPECT_EQ(process({1}, params).value()[0].eos_token_ids, std::vector<int32_t>{2});
}

TEST_F(InputProcessorTest, RefusesBadWordsWithoutAToken) {
  for (const char* word : {"", "  ", "\n\t"}) {
    SamplingParams params;
    params.bad_words = {"cat", word};
    const auto requests = process({1}, params);
    ASSERT_FALSE(requests) << word;
    EXPECT_EQ(requests.error().param, "bad_words");
  }
  SamplingParams params;
  params.bad_words = {"\n cat"};
  EXPECT_EQ(process({1}, params).value()[0].bad_words_token_ids[0], std::vector<int32_t>{256});
}

TEST_F(InputProcessorTest, BadWordsAreTokenisedWithAndWithoutASpace) {
  SamplingParams params;
  params.bad_words = {"cat", "dog"};
  const auto requests = process({1}, params);
  ASSERT_TRUE(requests);
  // " dog" is one token and "dog" three: the spaced form starts another word and is left alone.
  EXPECT_EQ(requests.value()[0].bad_words_token_ids,
            (std::vector<std::vector<int32_t>>{{256}, {257}, {'d', 'o', 'g'}}));
}

TEST_F(InputProcessorTest, NormalisesWhatTheLogitsProcessorsRelyOn) {
  SamplingParams params;
  params.allowed_token_ids = {9, 3, 9};
  params.logit_bias = {{1, 500.0F}};
  const auto requests = process({1}, params);
  ASSERT_TRUE(requests);
  EXPECT_EQ(requests.value()[0].params->allowed_token_ids, (std::vector<int32_t>{3, 9}));
  EXPECT_EQ(requests.value()[0].params->logit_bias.at(1), 100.0F);
}

TEST_F(InputProcessorTest, TextParametersNeedATokenizer) {
  const InputProcessor ids_only(engine_, nullptr, SamplingLimits{});
  SamplingParams params;
  params.stop = {"x"};
  const auto result =
      ids_only.process({.token_ids = {1}, .params = params, .priority = 0, .cache_salt = {}});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().param, "stop");
}

}  // namespace
}  // namespace quire
