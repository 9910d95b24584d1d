#include "server/result_queue.h"

#include <gtest/gtest.h>

#include "server/generation.h"

namespace quire {
namespace {

constexpr int64_t kNoLimit = 1 << 20;

std::shared_ptr<ResultQueue::Source> make_source(size_t sequence) {
  return std::make_shared<ResultQueue::Source>(std::weak_ptr<Generation>(), sequence);
}

StepResult token(int32_t id, int num_top = 0) {
  StepResult result;
  result.id = 7;
  result.new_token_ids = {id};
  if (num_top > 0) {
    const auto count = static_cast<size_t>(num_top);
    result.logprobs = {{.token_id = id,
                        .logprob = -1.0F,
                        .rank = 1,
                        .top_ids = std::vector<int32_t>(count),
                        .top_logprobs = std::vector<float>(count)}};
  }
  return result;
}

TEST(ResultQueue, JoinsTheStepsOfASequenceInOrder) {
  int num_wakes = 0;
  ResultQueue queue(kNoLimit, [&] { ++num_wakes; });
  const auto first = make_source(0);
  const auto second = make_source(1);
  StepResult prompt = token(1, 2);
  prompt.prompt_logprobs.resize(3);
  prompt.num_cached_tokens = 16;
  queue.push(first, std::move(prompt));
  queue.push(second, token(9));
  StepResult last = token(2, 2);
  last.finish_reason = FinishReason::kStop;
  last.stop_reason = 2;
  last.num_cached_tokens = 16;
  queue.push(first, std::move(last));
  EXPECT_EQ(num_wakes, 1);

  const std::vector<Delivery> deliveries = queue.take();
  ASSERT_EQ(deliveries.size(), 2U);
  EXPECT_EQ(deliveries[0].sequence, 0U);
  const StepResult& joined = deliveries[0].result;
  EXPECT_EQ(joined.id, 7U);
  EXPECT_EQ(joined.new_token_ids, (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(joined.logprobs.size(), 2U);
  EXPECT_EQ(joined.logprobs[1].token_id, 2);
  EXPECT_EQ(joined.prompt_logprobs.size(), 3U);
  EXPECT_EQ(joined.finish_reason, FinishReason::kStop);
  EXPECT_EQ(std::get<int32_t>(joined.stop_reason), 2);
  EXPECT_EQ(joined.num_cached_tokens, 16);
  EXPECT_EQ(deliveries[1].result.new_token_ids, std::vector<int32_t>{9});
  EXPECT_TRUE(queue.take().empty());
}

TEST(ResultQueue, WakesAgainAfterItWasEmptied) {
  int num_wakes = 0;
  ResultQueue queue(kNoLimit, [&] { ++num_wakes; });
  const auto source = make_source(0);
  queue.push(source, token(1));
  queue.take();
  queue.push(source, token(2));
  EXPECT_EQ(num_wakes, 2);
  EXPECT_EQ(queue.take().at(0).result.new_token_ids, std::vector<int32_t>{2});
}

TEST(ResultQueue, GivesUpTheSequenceThatAddsToAFullQueue) {
  ResultQueue queue(5000, [] {});
  const auto greedy = make_source(0);
  const auto modest = make_source(1);
  queue.push(modest, token(1));
  for (int32_t i = 0; i < 10; ++i) queue.push(greedy, token(i, 100));  // some 900 bytes each
  std::vector<Delivery> deliveries = queue.take();
  ASSERT_EQ(deliveries.size(), 2U);
  EXPECT_FALSE(deliveries[0].overflowed);
  EXPECT_EQ(deliveries[0].result.new_token_ids.size(), 1U);
  EXPECT_TRUE(deliveries[1].overflowed);
  EXPECT_TRUE(deliveries[1].result.new_token_ids.empty()) << "dropped results take no memory";
  queue.push(greedy, token(11));
  EXPECT_TRUE(queue.take().empty()) << "it has been given up";
  queue.push(modest, token(2));
  EXPECT_EQ(queue.take().size(), 1U);
}

TEST(ResultQueue, TakesASingleResultOfAnySize) {
  ResultQueue queue(100, [] {});
  const auto source = make_source(0);
  queue.push(source, token(1, 1000));
  EXPECT_EQ(queue.take().at(0).result.logprobs.at(0).top_ids.size(), 1000U);
}

TEST(ResultQueue, IgnoresWhatComesAfterTheClose) {
  int num_wakes = 0;
  ResultQueue queue(kNoLimit, [&] { ++num_wakes; });
  queue.close();
  queue.push(make_source(0), token(1));
  EXPECT_EQ(num_wakes, 0);
  EXPECT_TRUE(queue.take().empty());
}

}  // namespace
}  // namespace quire
