#include "cli/request_pool.h"

#include <gtest/gtest.h>

#include <map>

#include "support/byte_tokenizer.h"
#include "support/echo_engine.h"

namespace quire {
namespace {

using std::chrono::milliseconds;

class RequestPoolTest : public testing::Test {
 protected:
  PromptInput input(const std::string& text, int max_tokens) const {
    PromptInput input;
    input.token_ids = tokenizer_.encode(text, false);
    input.params.max_tokens = max_tokens;
    input.params.seed = 0;
    return input;
  }
  SamplingLimits limits() const {
    SamplingLimits limits;
    limits.vocab_size = tokenizer_.vocab_size();
    return limits;
  }

  ByteTokenizer tokenizer_;
  EchoEngine engine_{tokenizer_.vocab_size()};
};

TEST_F(RequestPoolTest, GathersEachCompletionUntilThePromptIsFinished) {
  RequestPool pool(engine_, &tokenizer_, limits());
  PromptInput prompt = input("A", 3);
  prompt.params.n = 2;
  const auto ticket = pool.submit(std::move(prompt));
  ASSERT_TRUE(ticket);
  EXPECT_EQ(pool.num_sequences(), 2U);
  std::map<int, std::string> texts;
  int num_finished = 0;
  while (pool.num_prompts() > 0) {
    for (const auto& event : pool.wait(milliseconds(1000))) {
      EXPECT_EQ(event.ticket, *ticket);
      EXPECT_EQ(event.num_prompt_tokens, 1);
      texts[event.output.index] += event.output.text;
      num_finished += event.finished ? 1 : 0;
    }
  }
  EXPECT_EQ(num_finished, 1);
  ASSERT_EQ(texts.size(), 2U);
  EXPECT_EQ(texts[0].size(), 3U);
  EXPECT_NE(texts[0], texts[1]);  // seed and seed + 1
}

TEST_F(RequestPoolTest, StopStringEndsTheRequestInTheEngine) {
  RequestPool pool(engine_, &tokenizer_, limits());
  engine_.hold();
  EngineRequest reference;
  reference.prompt_token_ids = {'A'};
  PromptInput prompt = input("A", 20);
  prompt.params.stop = {std::string(1, static_cast<char>(EchoEngine::token_at(reference, 4)))};
  ASSERT_TRUE(pool.submit(std::move(prompt)));
  engine_.release_all();
  std::string text;
  while (pool.num_prompts() > 0) {
    for (const auto& event : pool.wait(milliseconds(1000))) {
      text += event.output.text;
    }
  }
  EXPECT_EQ(text.size(), 4U);
  EXPECT_EQ(engine_.aborted().size(), 1U);
}

TEST_F(RequestPoolTest, CancelledPromptGivesNoEvents) {
  RequestPool pool(engine_, &tokenizer_, limits());
  engine_.hold();
  const auto ticket = pool.submit(input("A", 3));
  ASSERT_TRUE(ticket);
  pool.cancel(*ticket);
  engine_.release_all();
  EXPECT_TRUE(pool.wait(milliseconds(1)).empty());
  EXPECT_EQ(pool.num_prompts(), 0U);
  EXPECT_EQ(engine_.aborted().size(), 1U);
}

TEST_F(RequestPoolTest, AbortsWhatIsInFlightAtItsEnd) {
  engine_.hold();
  {
    RequestPool pool(engine_, &tokenizer_, limits());
    ASSERT_TRUE(pool.submit(input("A", 3)));
  }
  EXPECT_EQ(engine_.aborted().size(), 1U);
  engine_.release_all();  // the sink outlives the pool
}

TEST_F(RequestPoolTest, BadRequestLeavesNothingInFlight) {
  RequestPool pool(engine_, &tokenizer_, limits());
  PromptInput prompt = input("A", 3);
  prompt.params.temperature = -1;
  const auto ticket = pool.submit(std::move(prompt));
  ASSERT_FALSE(ticket);
  EXPECT_EQ(ticket.error().http_status, 400);
  EXPECT_EQ(pool.num_prompts(), 0U);
}

}  // namespace
}  // namespace quire
