#include "scheduler/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

SchedulerConfig small_config() {
  SchedulerConfig config;
  config.max_num_seqs = 4;
  config.max_num_batched_tokens = 16;
  config.max_model_len = 64;
  config.async_scheduling = false;
  config.forecast_output = false;
  config.num_blocks = 65;
  config.kv_cache_spec = make_kv_cache_spec({{.num_kv_heads = 1, .head_dim = 8}}, 4, 4);
  return config;
}

struct RequestOptions {
  int num_prompt_tokens = 4;
  int max_tokens = 8;
  int priority = 0;
  uint64_t adapter = 0;  // 0: the base model
};

std::shared_ptr<const EngineRequest> make_request(RequestId id,
                                                  const RequestOptions& options = {}) {
  auto request = std::make_shared<EngineRequest>();
  request->id = id;
  request->prompt_token_ids.assign(options.num_prompt_tokens, static_cast<int32_t>(100 + id));
  request->params = std::make_shared<SamplingParams>();
  request->max_tokens = options.max_tokens;
  request->priority = options.priority;
  request->eos_token_ids = {2};
  if (options.adapter != 0) {
    request->adapter = {.extent = {.id = options.adapter, .num_blocks = 2, .tail_pages = 0},
                        .content = {.low = options.adapter, .high = 1},
                        .first_token = 0,
                        .weights = nullptr};
  }
  return request;
}

// Every sampling row gets `token_id`.
ModelRunnerOutput output_of(const SchedulerOutput& step, int32_t token_id = 7) {
  ModelRunnerOutput output{.step_id = step.step_id, .rows = {}};
  for (const ScheduledRow& row : step.rows) {
    RowOutput& row_output = output.rows.emplace_back();
    row_output.id = row.id;
    if (row.samples) {
      row_output.sampled_token_ids = {token_id};
    }
  }
  return output;
}

std::vector<std::pair<RequestId, int>> rows_of(const SchedulerOutput& step) {
  std::vector<std::pair<RequestId, int>> rows;
  for (const ScheduledRow& row : step.rows) {
    rows.emplace_back(row.id, row.num_scheduled_tokens);
  }
  return rows;
}

// Plans and runs one step.
SchedulerOutput run_step(Scheduler& scheduler) {
  SchedulerOutput step = scheduler.schedule(0.0);
  scheduler.update(step, output_of(step), 0.0);
  return step;
}

using Rows = std::vector<std::pair<RequestId, int>>;

TEST(Scheduler, CutsPrefillsToTheBudgetAndPutsDecodesFirst) {
  Scheduler scheduler(small_config());
  scheduler.add(make_request(1, {.num_prompt_tokens = 30}));
  scheduler.add(make_request(2));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 16}}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 14}, {2, 2}}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 1}, {2, 2}}));
  scheduler.add(make_request(3, {.num_prompt_tokens = 40}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 1}, {2, 1}, {3, 14}}));
}

TEST(Scheduler, ALongPrefillLeavesRoomForDecodesBehindIt) {
  SchedulerConfig config = small_config();
  config.policy = SchedulingPolicy::kPriority;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.priority = 1}));
  run_step(scheduler);
  scheduler.add(make_request(2, {.num_prompt_tokens = 50, .priority = 0}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 1}, {2, 15}}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 1}, {2, 15}}));
}

TEST(Scheduler, LimitsChunksOfOneRequest) {
  SchedulerConfig config = small_config();
  config.long_prefill_token_threshold = 6;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.num_prompt_tokens = 10}));
  scheduler.add(make_request(2, {.num_prompt_tokens = 10}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 6}, {2, 6}}));
}

TEST(Scheduler, ServesPrioritiesFirst) {
  SchedulerConfig config = small_config();
  config.policy = SchedulingPolicy::kPriority;
  config.max_num_seqs = 1;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.max_tokens = 1, .priority = 5}));
  scheduler.add(make_request(2, {.max_tokens = 1, .priority = 1}));
  scheduler.add(make_request(3, {.max_tokens = 1, .priority = 5}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{2, 4}}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 4}}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{3, 4}}));
  EXPECT_FALSE(scheduler.has_unfinished_requests());
}

TEST(Scheduler, FinishesWithAllThatTheLastTokenBrings) {
  Scheduler scheduler(small_config());
  scheduler.add(make_request(1, {.max_tokens = 2}));
  const SchedulerOutput first = scheduler.schedule(3.0);
  ASSERT_EQ(first.new_requests.size(), 1U);
  EXPECT_THAT(first.new_requests[0].output_token_ids, IsEmpty());
  EXPECT_TRUE(first.rows[0].samples);
  std::vector<StepResult> results = scheduler.update(first, output_of(first, 9), 4.0);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_THAT(results[0].new_token_ids, ElementsAre(9));
  EXPECT_FALSE(results[0].finish_reason.has_value());
  const SchedulerOutput second = scheduler.schedule(5.0);
  results = scheduler.update(second, output_of(second, 2), 6.0);
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].finish_reason, FinishReason::kStop);
  EXPECT_EQ(results[0].scheduled_time_s, 3.0);
  EXPECT_EQ(results[0].first_token_time_s, 4.0);
  EXPECT_FALSE(scheduler.has_unfinished_requests());
  EXPECT_EQ(scheduler.stats().num_free_blocks, scheduler.stats().num_blocks);
}

TEST(Scheduler, PlansTheNextStepBeforeTheTokenIsKnown) {
  SchedulerConfig config = small_config();
  config.async_scheduling = true;
  Scheduler scheduler(config);
  scheduler.add(make_request(1));
  const SchedulerOutput first = scheduler.schedule(0.0);
  const SchedulerOutput second = scheduler.schedule(0.0);
  EXPECT_EQ(rows_of(second), (Rows{{1, 1}}));
  EXPECT_EQ(second.rows[0].num_computed_tokens, 4);
  EXPECT_TRUE(second.rows[0].samples);
  EXPECT_DEATH(scheduler.schedule(0.0), "update");
  // The first token ends the request: the row in flight is dropped.
  EXPECT_EQ(scheduler.update(first, output_of(first, 2), 0.0).size(), 1U);
  EXPECT_THAT(scheduler.update(second, output_of(second), 0.0), IsEmpty());
  scheduler.add(make_request(2));
  EXPECT_THAT(scheduler.schedule(0.0).finished_ids, ElementsAre(1));
}

TEST(Scheduler, DoesNotPlanBeyondATokenThatIsSureToBeTheLast) {
  SchedulerConfig config = small_config();
  config.async_scheduling = true;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.max_tokens = 1}));
  const SchedulerOutput first = scheduler.schedule(0.0);
  EXPECT_TRUE(scheduler.schedule(0.0).empty());
  const std::vector<StepResult> results = scheduler.update(first, output_of(first), 0.0);
  EXPECT_EQ(results[0].finish_reason, FinishReason::kLength);
}

TEST(Scheduler, PreemptsTheLatestAndResumesItWithItsOutput) {
  SchedulerConfig config = small_config();
  config.num_blocks = 1 + 5;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.num_prompt_tokens = 8, .max_tokens = 9}));
  scheduler.add(make_request(2, {.num_prompt_tokens = 7, .max_tokens = 4}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 8}, {2, 7}}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 1}, {2, 1}}));
  // Request 2 needs a third block and is itself the latest.
  const SchedulerOutput preempting = run_step(scheduler);
  EXPECT_EQ(rows_of(preempting), (Rows{{1, 1}}));
  EXPECT_THAT(preempting.finished_ids, ElementsAre(2));
  EXPECT_EQ(scheduler.find(2)->status, RequestStatus::kPreempted);
  SchedulerOutput step;
  while (step.new_requests.empty()) {
    step = run_step(scheduler);
  }
  EXPECT_EQ(step.new_requests[0].id, 2U);
  EXPECT_THAT(step.new_requests[0].output_token_ids, ElementsAre(7, 7));
  EXPECT_EQ(scheduler.stats().num_preemptions, 1);
}

// Blocks for 80 tokens, and requests of 24: three fit to their end, five at first.
TEST(Scheduler, AForecastAvoidsPreemptions) {
  for (const bool forecast_output : {false, true}) {
    SchedulerConfig config = small_config();
    config.max_num_seqs = 8;
    config.num_blocks = 21;
    config.forecast_output = forecast_output;
    Scheduler scheduler(config);
    for (RequestId id = 1; id <= 8; ++id) {
      scheduler.add(make_request(id, {.num_prompt_tokens = 12, .max_tokens = 12}));
    }
    int most_running = 0;
    while (scheduler.has_unfinished_requests()) {
      run_step(scheduler);
      most_running = std::max(most_running, scheduler.stats().num_running);
    }
    EXPECT_EQ(scheduler.stats().num_preemptions == 0, forecast_output);
    EXPECT_EQ(most_running >= 5, !forecast_output);
    EXPECT_GE(most_running, 3);
  }
}

TEST(Scheduler, KeepsATokenInFlightOfAPreemptedRequest) {
  SchedulerConfig config = small_config();
  config.async_scheduling = true;
  config.num_blocks = 1 + 5;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.num_prompt_tokens = 8, .max_tokens = 9}));
  scheduler.add(make_request(2, {.num_prompt_tokens = 8, .max_tokens = 4}));
  const SchedulerOutput first = scheduler.schedule(0.0);
  const SchedulerOutput second = scheduler.schedule(0.0);
  EXPECT_THAT(second.finished_ids, ElementsAre(2));
  const std::vector<StepResult> results = scheduler.update(first, output_of(first), 0.0);
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[1].id, 2U);
  EXPECT_THAT(results[1].new_token_ids, ElementsAre(7));
  EXPECT_EQ(scheduler.find(2)->num_known_tokens(), 9);
}

TEST(Scheduler, SetsBlocksAsideForARequestAtTheCapOfPreemptions) {
  SchedulerConfig config = small_config();
  config.max_preemptions = 0;
  config.num_blocks = 1 + 5;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.num_prompt_tokens = 8, .max_tokens = 8}));
  scheduler.add(make_request(2, {.num_prompt_tokens = 7, .max_tokens = 4}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 8}}));  // 4 of 5 blocks are spoken for
  while (scheduler.has_unfinished_requests()) {
    run_step(scheduler);
  }
  EXPECT_EQ(scheduler.stats().num_preemptions, 0);
}

TEST(Scheduler, SharesAPrefixWithinOneStep) {
  Scheduler scheduler(small_config());
  auto twin = std::make_shared<EngineRequest>(*make_request(1, {.num_prompt_tokens = 10}));
  scheduler.add(make_request(1, {.num_prompt_tokens = 10}));
  twin->id = 2;
  scheduler.add(twin);
  const SchedulerOutput step = run_step(scheduler);
  EXPECT_EQ(rows_of(step), (Rows{{1, 10}, {2, 2}}));
  EXPECT_EQ(step.rows[1].num_computed_tokens, 8);
  EXPECT_EQ(step.rows[0].new_block_ids[0][0], step.rows[1].new_block_ids[0][0]);
  EXPECT_EQ(scheduler.stats().prefix_cache_hits, 8);
  EXPECT_FALSE(scheduler.reset_prefix_cache());
  scheduler.abort({1, 2, 3});
  EXPECT_TRUE(scheduler.reset_prefix_cache());
}

TEST(Scheduler, PromptLogprobsAreNotReadFromTheCache) {
  Scheduler scheduler(small_config());
  scheduler.add(make_request(1, {.num_prompt_tokens = 10, .max_tokens = 1}));
  run_step(scheduler);
  SamplingParams params;
  params.prompt_logprobs = 0;
  auto again = std::make_shared<EngineRequest>(*make_request(1, {.num_prompt_tokens = 10}));
  again->params = std::make_shared<SamplingParams>(params);
  scheduler.add(again);
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 10}}));
}

TEST(Scheduler, AFailedRowEndsItsRequestAndTakesItsBlocksOutOfTheCache) {
  SchedulerConfig config = small_config();
  config.async_scheduling = true;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.num_prompt_tokens = 12}));
  scheduler.add(make_request(2));
  const SchedulerOutput first = scheduler.schedule(0.0);
  const SchedulerOutput second = scheduler.schedule(0.0);
  ModelRunnerOutput output = output_of(first);
  for (RowOutput& row : output.rows) {
    if (row.id != 1) continue;
    row.failure = RowFailure::kCorrupted;
    row.sampled_token_ids.clear();
  }
  std::vector<StepResult> results = scheduler.update(first, output, 0.0);
  const auto failed = std::ranges::find(results, RequestId{1}, &StepResult::id);
  ASSERT_NE(failed, results.end());
  EXPECT_EQ(failed->finish_reason, FinishReason::kError);
  EXPECT_EQ(failed->failure, RowFailure::kCorrupted);
  EXPECT_TRUE(failed->new_token_ids.empty());
  EXPECT_EQ(scheduler.find(1), nullptr);
  results = scheduler.update(second, output_of(second), 0.0);
  ASSERT_EQ(results.size(), 1U) << "the failed request's row in flight is dropped";
  EXPECT_EQ(results[0].id, 2U);
  EXPECT_EQ(scheduler.stats().num_corrupted_requests, 1);

  auto twin = std::make_shared<EngineRequest>(*make_request(3));
  twin->prompt_token_ids.assign(12, 101);  // the prompt of request 1
  scheduler.add(twin);
  const SchedulerOutput third = scheduler.schedule(0.0);
  EXPECT_EQ(third.new_requests.at(0).id, 3U);
  EXPECT_EQ(scheduler.stats().prefix_cache_hits, 0);
}

TEST(Scheduler, AbortsInAnyState) {
  SchedulerConfig config = small_config();
  config.async_scheduling = true;
  config.max_num_seqs = 1;
  Scheduler scheduler(config);
  scheduler.add(make_request(1));
  scheduler.add(make_request(2));
  const SchedulerOutput in_flight = scheduler.schedule(0.0);
  scheduler.abort({1, 2, 99});
  EXPECT_FALSE(scheduler.has_unfinished_requests());
  EXPECT_THAT(scheduler.update(in_flight, output_of(in_flight), 0.0), IsEmpty());
  EXPECT_EQ(scheduler.stats().num_free_blocks, scheduler.stats().num_blocks);
  EXPECT_EQ(scheduler.stats().num_waiting, 0);
}

TEST(Scheduler, RequestsThatNeedNoLoadPassOneThatDoes) {
  SchedulerConfig config = small_config();
  config.max_loras = 1;
  config.max_num_seqs = 2;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.max_tokens = 2, .adapter = 1}));
  scheduler.add(make_request(2, {.max_tokens = 2, .adapter = 2}));
  scheduler.add(make_request(3, {.max_tokens = 2}));
  scheduler.add(make_request(4, {.max_tokens = 2, .adapter = 1}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{3, 4}, {1, 4}}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 1}, {3, 1}}));
  // Adapter 1 is idle now, but in place: 4 still comes before 2.
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{4, 4}}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{4, 1}}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{2, 4}}));
}

TEST(Scheduler, ARequestThatNeedsALoadIsPassedSoOftenAndNoMore) {
  SchedulerConfig config = small_config();
  config.max_loras = 1;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.max_tokens = 2, .adapter = 1}));
  run_step(scheduler);
  constexpr RequestId kTail = 1000;
  scheduler.add(make_request(kTail, {.max_tokens = 1, .adapter = 2}));
  RequestId id = 2;
  while (scheduler.find(kTail) != nullptr && id < 200) {
    scheduler.add(make_request(id++, {.max_tokens = 2, .adapter = 1}));
    run_step(scheduler);
  }
  EXPECT_LT(id, 50U);
  EXPECT_GT(id, 20U);
}

TEST(Scheduler, ARequestsTokensDoNotEvictItsOwnAdapter) {
  SchedulerConfig config = small_config();
  config.num_blocks = 9;
  config.max_num_batched_tokens = 32;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.num_prompt_tokens = 16, .max_tokens = 1, .adapter = 1}));
  run_step(scheduler);
  // Two blocks have no content; the third would be a cached prefix's or the idle adapter's.
  scheduler.add(make_request(2, {.num_prompt_tokens = 20, .max_tokens = 1, .adapter = 1}));
  run_step(scheduler);
  EXPECT_EQ(scheduler.stats().num_adapter_loads, 1);
}

TEST(Scheduler, ALowerPriorityPassesNobody) {
  SchedulerConfig config = small_config();
  config.policy = SchedulingPolicy::kPriority;
  config.max_loras = 1;
  Scheduler scheduler(config);
  scheduler.add(make_request(1, {.max_tokens = 3, .adapter = 1}));
  run_step(scheduler);
  scheduler.add(make_request(2, {.priority = 0, .adapter = 2}));
  scheduler.add(make_request(3, {.priority = 1, .adapter = 1}));
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 1}}));
}

TEST(Scheduler, FairSharesGoByAdapter) {
  SchedulerConfig config = small_config();
  config.policy = SchedulingPolicy::kFair;
  config.max_num_seqs = 1;
  Scheduler scheduler(config);
  for (RequestId id = 1; id <= 5; ++id) {
    scheduler.add(make_request(id, {.max_tokens = 1, .adapter = 1}));
  }
  EXPECT_EQ(rows_of(run_step(scheduler)), (Rows{{1, 4}}));
  scheduler.add(make_request(6, {.max_tokens = 1, .adapter = 2}));
  scheduler.add(make_request(7, {.max_tokens = 1}));
  scheduler.add(make_request(8, {.max_tokens = 1}));
  std::vector<RequestId> order;
  while (scheduler.has_unfinished_requests()) {
    order.push_back(rows_of(run_step(scheduler)).front().first);
  }
  EXPECT_THAT(order, ElementsAre(6, 7, 2, 8, 3, 4, 5));
}

TEST(Scheduler, TellsThatARequestRunsBeforeItsFirstToken) {
  Scheduler scheduler(small_config());
  scheduler.add(make_request(1, {.num_prompt_tokens = 40}));
  for (const size_t num_results : {1U, 0U, 1U}) {
    const SchedulerOutput step = scheduler.schedule(2.0);
    const std::vector<StepResult> results = scheduler.update(step, output_of(step), 3.0);
    ASSERT_EQ(results.size(), num_results);
    if (num_results == 1) EXPECT_EQ(results[0].scheduled_time_s, 2.0);
  }
}

TEST(Scheduler, GaugesCountTokensAndSlots) {
  Scheduler scheduler(small_config());
  scheduler.add(make_request(1, {.num_prompt_tokens = 5}));
  run_step(scheduler);
  const SchedulerStats stats = scheduler.stats();
  EXPECT_EQ(stats.num_running, 1);
  EXPECT_EQ(stats.num_used_token_slots, 5);
  EXPECT_EQ(stats.num_allocated_token_slots, 8);
}

}  // namespace
}  // namespace quire
