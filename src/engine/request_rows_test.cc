#include "engine/request_rows.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

NewRequestData new_request(RequestId id, std::vector<int32_t> prompt, std::vector<int32_t> output,
                           float frequency_penalty = 0.0F) {
  auto request = std::make_shared<EngineRequest>();
  request->id = id;
  request->prompt_token_ids = std::move(prompt);
  SamplingParams params;
  params.frequency_penalty = frequency_penalty;
  request->params = std::make_shared<const SamplingParams>(params);
  request->max_tokens = 8;
  return {.id = id, .request = request, .output_token_ids = std::move(output)};
}

ScheduledRow row_with_blocks(RequestId id, BlockIds block_ids) {
  return {.id = id,
          .num_computed_tokens = 0,
          .num_scheduled_tokens = 1,
          .samples = false,
          .new_block_ids = std::move(block_ids)};
}

TEST(RequestRows, KeepsTheTokenHistory) {
  RequestRows rows;
  SchedulerOutput step;
  step.new_requests = {new_request(1, {5, 6}, {})};
  rows.apply(step);
  rows.at(1).append(7);
  EXPECT_EQ(rows.at(1).token_ids, (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(rows.at(1).num_output_tokens(), 1);
  EXPECT_EQ(rows.at(1).output_token_ids()[0], 7);
}

TEST(RequestRows, AppendsBlocksOfEveryGroup) {
  RequestRows rows;
  SchedulerOutput step;
  step.new_requests = {new_request(1, {5}, {})};
  step.rows = {row_with_blocks(1, {{1, 2}, {0, 3}})};
  rows.apply(step);
  SchedulerOutput next;
  next.rows = {row_with_blocks(1, {{4}, {5}})};
  rows.apply(next);
  EXPECT_EQ(rows.at(1).block_ids, (BlockIds{{1, 2, 4}, {0, 3, 5}}));
}

TEST(RequestRows, DropsBeforeItCreatesAndForgetsWhatTheRowHeld) {
  RequestRows rows;
  SchedulerOutput step;
  step.new_requests = {new_request(1, {5, 6}, {}, 1.0F)};
  step.rows = {row_with_blocks(1, {{1}})};
  rows.apply(step);
  rows.at(1).append(7);

  SchedulerOutput next;
  next.finished_ids = {1, 99};  // 99 was never scheduled
  next.new_requests = {new_request(1, {5, 6}, {7}, 1.0F)};
  next.rows = {row_with_blocks(1, {{3}})};
  rows.apply(next);
  EXPECT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows.at(1).token_ids, (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(rows.at(1).block_ids, BlockIds{{3}});
  EXPECT_EQ(rows.at(1).token_uses.at(7).num_output, 1);
}

TEST(RequestRows, CountsTokensForPenaltiesOnly) {
  RequestRows rows;
  SchedulerOutput step;
  step.new_requests = {new_request(1, {5, 6}, {6}, 1.0F), new_request(2, {5, 6}, {6})};
  rows.apply(step);
  rows.at(1).append(8);
  EXPECT_TRUE(rows.at(1).token_uses.at(6).in_prompt);
  EXPECT_EQ(rows.at(1).token_uses.at(6).num_output, 1);
  EXPECT_EQ(rows.at(1).token_uses.at(5).num_output, 0);
  EXPECT_FALSE(rows.at(1).token_uses.at(8).in_prompt);
  EXPECT_TRUE(rows.at(2).token_uses.empty());
}

}  // namespace
}  // namespace quire
