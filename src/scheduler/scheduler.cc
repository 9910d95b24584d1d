#include "scheduler/scheduler.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "scheduler/stop_check.h"

namespace quire {
namespace {

// Positions whose logprobs a row has produced once it has run: token p predicts position p + 1.
int num_prompt_logprobs_after(const Request& request, const ScheduledRow& row) {
  return std::min(row.num_computed_tokens + row.num_scheduled_tokens,
                  request.num_prompt_tokens() - 1);
}

// Rows of one token first; otherwise keeps the order.
void order_rows(std::vector<ScheduledRow>& rows) {
  const auto is_short = [](const ScheduledRow& row) { return row.num_scheduled_tokens == 1; };
  if (std::is_partitioned(rows.begin(), rows.end(), is_short)) {
    return;
  }
  std::vector<ScheduledRow> ordered;
  ordered.reserve(rows.size());
  for (const bool wanted : {true, false}) {
    for (ScheduledRow& row : rows) {
      if (is_short(row) == wanted) {
        ordered.push_back(std::move(row));
      }
    }
  }
  rows = std::move(ordered);
}

}  // namespace

bool Scheduler::RunsBefore::operator()(const Request* a, const Request* b) const {
  if (policy == SchedulingPolicy::kFcfs) {
    return a->sequence < b->sequence;
  }
  if (policy == SchedulingPolicy::kFair) {
    return std::pair(a->fair_place, a->sequence) < std::pair(b->fair_place, b->sequence);
  }
  const auto key = [](const Request* request) {
    return std::tuple(request->engine_request->priority, request->engine_request->arrival_time_s,
                      request->sequence);
  };
  return key(a) < key(b);
}

Scheduler::Scheduler(const SchedulerConfig& config)
    : config_(config),
      kv_cache_manager_({.spec = config.kv_cache_spec,
                         .num_blocks = config.num_blocks,
                         .max_tokens_per_step = config.max_num_batched_tokens,
                         .enable_prefix_caching = config.enable_prefix_caching}),
      waiting_(RunsBefore{config.policy}) {
  CHECK(config.max_num_seqs >= 1 && config.max_num_batched_tokens >= 1 &&
        config.max_model_len >= 2);
  CHECK(config.enable_chunked_prefill || config.max_num_batched_tokens >= config.max_model_len,
        "without chunked prefill a step must hold the longest request");
}

void Scheduler::add(std::shared_ptr<const EngineRequest> engine_request) {
  CHECK(!engine_request->prompt_token_ids.empty() && engine_request->max_tokens >= 1);
  auto request = std::make_unique<Request>();
  request->sequence = next_sequence_++;
  request->token_ids = engine_request->prompt_token_ids;
  request->max_num_tokens = request->num_known_tokens() + engine_request->max_tokens;
  CHECK(request->max_num_tokens <= config_.max_model_len, request->max_num_tokens, " tokens");
  CHECK(num_blocks_for_request(config_.kv_cache_spec, request->max_num_tokens,
                               config_.max_num_batched_tokens) <=
            kv_cache_manager_.pool().num_usable_blocks(),
        "the request would never fit the pool");
  request->block_table = kv_cache_manager_.make_block_table(
      {.model_id = config_.cache_seed,
       .adapter_content = engine_request->adapter ? engine_request->adapter->content : BlockHash{},
       .cache_salt = engine_request->cache_salt},
      engine_request->adapter ? engine_request->adapter->first_token : 0);
  if (config_.policy == SchedulingPolicy::kFair) {
    request->fair_place = fair_share_.take_place(
        engine_request->adapter ? engine_request->adapter->content.low : 0,
        request->num_known_tokens(), forecast_.remaining_tokens(0, engine_request->max_tokens));
  }
  const RequestId id = engine_request->id;
  request->engine_request = std::move(engine_request);
  Request* added = request.get();
  CHECK(requests_.emplace(id, std::move(request)).second, "request id ", id, " is in use");
  waiting_.insert(added);
}

SchedulerOutput Scheduler::schedule(double now_s) {
  CHECK(num_steps_in_flight_ <= (config_.async_scheduling ? 1 : 0), "a step awaits its update()");
  SchedulerOutput step;
  step.step_id = next_step_id_++;
  step.rows.reserve(running_.size());
  // After a preemption nobody is admitted: the blocks just won are for the running.
  if (!schedule_running(step)) {
    schedule_waiting(step, now_s);
  }
  if (step.empty()) {
    return step;
  }
  order_rows(step.rows);
  step.finished_ids.swap(finished_ids_);
  ++num_steps_in_flight_;
  kv_cache_manager_.set_step(step.step_id);
  return step;
}

// Returns whether a request was preempted.  Rows are planned in the order of running_, and victims
// come from behind the row being planned, so a planned row is never taken back.
bool Scheduler::schedule_running(SchedulerOutput& step) {
  const int64_t num_preemptions_before = num_preemptions_;
  // One token of the budget is kept for every running request that needs no more, so that a long
  // prefill never holds up those behind it (Sarathi-Serve, OSDI 2024, arXiv:2403.02310).
  int num_kept = static_cast<int>(std::count_if(running_.begin(), running_.end(), [&](Request* r) {
    return num_unscheduled_tokens(*r) == 1;
  }));
  for (size_t i = 0; i < running_.size();) {
    Request& request = *running_[i];
    const int budget = config_.max_num_batched_tokens - step.total_num_scheduled_tokens;
    const int num_unscheduled = num_unscheduled_tokens(request);
    const bool is_kept = num_unscheduled == 1;
    num_kept -= is_kept ? 1 : 0;
    const int num_new_tokens =
        std::min(num_unscheduled, is_kept ? budget : longest_chunk(budget - num_kept));
    if (num_new_tokens <= 0) {
      ++i;
      continue;
    }
    const int num_old_blocks = request.block_table.num_blocks();
    if (make_room(i, num_new_tokens)) {
      add_row(step, request, num_new_tokens, num_old_blocks);
      ++i;
    } else if (is_preemptible(request)) {
      preempt(i);
    } else {
      ++i;  // Those before it have blocks set aside or are at work: they end and give theirs back.
    }
  }
  return num_preemptions_ != num_preemptions_before;
}

void Scheduler::schedule_waiting(SchedulerOutput& step, double now_s) {
  while (!waiting_.empty() && static_cast<int>(running_.size()) < config_.max_num_seqs) {
    Request& request = next_waiting();
    const int budget = config_.max_num_batched_tokens - step.total_num_scheduled_tokens;
    if (budget == 0 || request.num_output_placeholders > 0) {
      return;  // A preempted request is resumed once all its tokens are known.
    }
    ComputedBlocks computed;
    computed.block_ids.resize(config_.kv_cache_spec.groups.size());
    const bool wants_all_logits = request.engine_request->params->prompt_logprobs.has_value() &&
                                  request.num_prompt_logprobs < request.num_prompt_tokens() - 1;
    if (!wants_all_logits) {
      computed = kv_cache_manager_.get_computed_blocks(request.block_table, request.token_ids);
    }
    const int num_unscheduled = request.num_known_tokens() - computed.num_tokens;
    const int num_new_tokens = std::min(num_unscheduled, longest_chunk(budget));
    if ((!config_.enable_chunked_prefill && num_new_tokens < num_unscheduled) ||
        !may_hold_adapter(request) || !will_fit(request, computed) || !admit(request, computed)) {
      return;
    }
    if (!wants_all_logits && config_.enable_prefix_caching) {
      prefix_cache_queries_ += request.num_known_tokens();
      prefix_cache_hits_ += computed.num_tokens;
    }
    if (request.status == RequestStatus::kWaiting) {
      request.num_cached_tokens = computed.num_tokens;
      request.scheduled_time_s = now_s;
    }
    (*waiting_.begin())->num_passed += *waiting_.begin() == &request ? 0 : 1;
    waiting_.erase(&request);
    fair_share_.serve(request.fair_place);
    request.status = RequestStatus::kRunning;
    running_.insert(
        std::upper_bound(running_.begin(), running_.end(), &request, RunsBefore{config_.policy}),
        &request);
    const auto output_begin = request.token_ids.begin() + request.num_prompt_tokens();
    step.new_requests.push_back({.id = request.engine_request->id,
                                 .request = request.engine_request,
                                 .adapter_place = nullptr,
                                 .output_token_ids = {output_begin, request.token_ids.end()}});
    hold_adapter(step, request, step.new_requests.back());
    CHECK(
        kv_cache_manager_.allocate_slots(request.block_table, computed.num_tokens, num_new_tokens),
        "an admitted request fits");
    add_row(step, request, num_new_tokens, 0);
  }
}

// The first in line; or, while its adapter has to be loaded, one close behind it that is its equal
// and needs no load.  The first is passed only so often: then the others wait until it runs.
Request& Scheduler::next_waiting() const {
  constexpr int kLookahead = 32;
  Request& first = **waiting_.begin();
  // Under kFair all but those that cannot run wait for their turn.
  const bool is_ready = config_.policy == SchedulingPolicy::kFair ? may_hold_adapter(first)
                                                                  : has_adapter_in_place(first);
  if (is_ready || first.num_passed >= kMaxPassed) {
    return first;
  }
  const auto priority = [&](const Request& request) {
    return config_.policy == SchedulingPolicy::kPriority ? request.engine_request->priority : 0;
  };
  int num_looked_at = 0;
  for (Request* request : waiting_) {
    if (num_looked_at++ == kLookahead || priority(*request) != priority(first)) {
      break;
    }
    if (request->num_output_placeholders == 0 && has_adapter_in_place(*request)) {
      return *request;
    }
  }
  return first;
}

// Whether the running requests and this one will probably end without a preemption.
bool Scheduler::will_fit(const Request& request, const ComputedBlocks& computed) const {
  if (!config_.forecast_output || running_.empty()) {
    return true;
  }
  const auto remaining_tokens = [&](const Request& r) {
    return forecast_.remaining_tokens(r.num_output_tokens(),
                                      r.max_num_tokens - r.num_prompt_tokens());
  };
  const int num_new_tokens = request.num_known_tokens() - computed.num_tokens;
  std::vector<GrowingRequest> growing;
  growing.reserve(running_.size() + 1);
  growing.push_back({.held_tokens = num_new_tokens, .remaining_tokens = remaining_tokens(request)});
  int64_t num_unallocated = num_new_tokens;
  for (const Request* r : running_) {
    growing.push_back({.held_tokens = r->num_known_tokens() - r->num_cached_tokens,
                       .remaining_tokens = remaining_tokens(*r)});
    num_unallocated += r->num_tokens() - r->num_computed_tokens;
  }
  // A window's blocks are given back as it grows, and are not counted.
  const auto& groups = config_.kv_cache_spec.groups;
  const auto num_growing_groups = std::max<int64_t>(
      1, std::count_if(groups.begin(), groups.end(),
                       [](const KVCacheGroupSpec& group) { return group.sliding_window == 0; }));
  const int64_t num_free_tokens =
      (kv_cache_manager_.num_available_blocks() - num_adapter_blocks(request)) /
      num_growing_groups * config_.kv_cache_spec.block_size;
  return num_unallocated + peak_growth(growing) <= num_free_tokens;
}

// A request at the cap of preemptions needs its full length set aside, or the engine to itself.
bool Scheduler::admit(Request& request, const ComputedBlocks& computed) {
  const int num_reserved_tokens = is_preemptible(request) ? 0 : request.max_num_tokens;
  const KVCacheManager::Admission needs{.num_tokens = request.num_known_tokens(),
                                        .num_adapter_blocks = num_adapter_blocks(request)};
  KVCacheManager::Admission reserving = needs;
  reserving.num_reserved_tokens = num_reserved_tokens;
  bool admitted = kv_cache_manager_.admit(request.block_table, computed, reserving);
  if (!admitted && num_reserved_tokens > 0 && running_.empty()) {
    admitted = kv_cache_manager_.admit(request.block_table, computed, needs);
  }
  if (admitted) {
    request.num_computed_tokens = computed.num_tokens;
  }
  return admitted;
}

int64_t Scheduler::num_adapter_blocks(const Request& request) const {
  const auto& adapter = request.engine_request->adapter;
  return adapter ? kv_cache_manager_.adapters().num_blocks_to_hold(adapter->extent) : 0;
}

// Whether the cap on adapters leaves room for the request's, or it is in use already.
bool Scheduler::may_hold_adapter(const Request& request) const {
  const AdapterCache& adapters = kv_cache_manager_.adapters();
  return !request.engine_request->adapter || config_.max_loras == 0 ||
         adapters.num_held() < config_.max_loras || num_adapter_blocks(request) == 0;
}

// Whether it can run without a load.
bool Scheduler::has_adapter_in_place(const Request& request) const {
  const auto& adapter = request.engine_request->adapter;
  return !adapter || (kv_cache_manager_.adapters().is_resident(adapter->extent.id) &&
                      may_hold_adapter(request));
}

// Requires: admit() has left room.
void Scheduler::hold_adapter(SchedulerOutput& step, const Request& request, NewRequestData& data) {
  const auto& adapter = request.engine_request->adapter;
  if (!adapter) {
    return;
  }
  AdapterCache& adapters = kv_cache_manager_.adapters();
  const bool must_load = adapters.hold(adapter->extent);
  data.adapter_place = adapters.place(adapter->extent.id);
  if (must_load) {
    step.adapter_loads.push_back({.weights = adapter->weights, .place = data.adapter_place});
  }
}

// Gets blocks for running_[running_index], preempting from the back of the queue as needed.
bool Scheduler::make_room(size_t running_index, int num_new_tokens) {
  Request& request = *running_[running_index];
  while (!kv_cache_manager_.allocate_slots(request.block_table, request.num_computed_tokens,
                                           num_new_tokens)) {
    size_t victim = running_.size() - 1;
    while (victim > running_index && !is_preemptible(*running_[victim])) {
      --victim;
    }
    if (victim == running_index) {
      return false;
    }
    preempt(victim);
  }
  return true;
}

void Scheduler::add_row(SchedulerOutput& step, Request& request, int num_new_tokens,
                        int num_old_blocks) {
  ScheduledRow& row = step.rows.emplace_back();
  row.id = request.engine_request->id;
  row.num_computed_tokens = request.num_computed_tokens;
  row.num_scheduled_tokens = num_new_tokens;
  row.new_block_ids.reserve(request.block_table.block_ids.size());
  for (const std::vector<int32_t>& ids : request.block_table.block_ids) {
    row.new_block_ids.emplace_back(ids.begin() + num_old_blocks, ids.end());
  }
  step.total_num_scheduled_tokens += num_new_tokens;
  request.num_computed_tokens += num_new_tokens;
  row.samples = request.num_computed_tokens == request.num_tokens();
  request.num_output_placeholders += row.samples ? 1 : 0;
  kv_cache_manager_.cache_blocks(request.block_table, request.token_ids,
                                 request.num_computed_tokens);
}

// 0 if the tokens in flight are sure to be the last.
int Scheduler::num_unscheduled_tokens(const Request& request) const {
  if (request.num_tokens() >= request.max_num_tokens) {
    return 0;
  }
  return request.num_tokens() - request.num_computed_tokens;
}

int Scheduler::longest_chunk(int budget) const {
  const int threshold = config_.long_prefill_token_threshold;
  return config_.enable_chunked_prefill && threshold > 0 ? std::min(budget, threshold) : budget;
}

bool Scheduler::is_preemptible(const Request& request) const {
  return request.num_preemptions < config_.max_preemptions;
}

// Recompute, not swap.  A token in flight is kept: its step reads the blocks before any later owner
// writes to them, and its result is appended in update() while the request waits.
void Scheduler::preempt(size_t running_index) {
  Request& request = *running_[running_index];
  release(request);
  request.status = RequestStatus::kPreempted;
  request.num_computed_tokens = 0;
  ++request.num_preemptions;
  ++num_preemptions_;
  waiting_.insert(&request);
}

std::vector<StepResult> Scheduler::update(const SchedulerOutput& step,
                                          const ModelRunnerOutput& output, double now_s) {
  std::vector<StepResult> results;
  if (step.empty()) {
    return results;
  }
  CHECK(num_steps_in_flight_ > 0 && output.step_id == step.step_id);
  CHECK(output.rows.size() == step.rows.size());
  --num_steps_in_flight_;
  results.reserve(step.rows.size());
  for (size_t i = 0; i < step.rows.size(); ++i) {
    CHECK(output.rows[i].id == step.rows[i].id, "rows are in the order of the step");
    const auto found = requests_.find(step.rows[i].id);
    if (found == requests_.end()) {
      continue;  // It ended while the row was in flight.
    }
    StepResult result = apply(step.rows[i], output.rows[i], *found->second, now_s);
    const bool is_first = !std::exchange(found->second->has_reported, true);
    if (result.finish_reason.has_value()) {
      remove(*found->second);
    }
    if (is_first || !result.new_token_ids.empty() || !result.prompt_logprobs.empty() ||
        result.finish_reason) {
      results.push_back(std::move(result));
    }
  }
  return results;
}

StepResult Scheduler::apply(const ScheduledRow& row, const RowOutput& output, Request& request,
                            double now_s) {
  StepResult result;
  result.id = row.id;
  result.num_cached_tokens = request.num_cached_tokens;
  result.scheduled_time_s = request.scheduled_time_s;
  result.first_token_time_s = request.first_token_time_s;
  result.num_preemptions = request.num_preemptions;
  if (row.samples) --request.num_output_placeholders;
  if (output.failure != RowFailure::kNone) {
    result.finish_reason = FinishReason::kError;
    result.failure = output.failure;
    if (output.failure == RowFailure::kCorrupted) {
      ++num_corrupted_requests_;
      kv_cache_manager_.forget(request.block_table);
    }
    return result;
  }
  result.prompt_logprobs = take_prompt_logprobs(row, output, request);
  CHECK(output.sampled_token_ids.size() == (row.samples ? 1U : 0U));
  if (row.samples) {
    request.token_ids.push_back(output.sampled_token_ids[0]);
    result.new_token_ids = output.sampled_token_ids;
    result.logprobs = output.logprobs;
    if (request.num_output_tokens() == 1) {
      request.first_token_time_s = now_s;
      result.first_token_time_s = now_s;
    }
    if (std::optional<Stop> stop = check_stop(request)) {
      result.finish_reason = stop->finish_reason;
      result.stop_reason = std::move(stop->stop_reason);
      forecast_.add_finished(request.num_output_tokens());
    }
  }
  return result;
}

// A resumed request computes its prompt again, but reports each position once.
std::vector<TokenLogprobs> Scheduler::take_prompt_logprobs(const ScheduledRow& row,
                                                           const RowOutput& output,
                                                           Request& request) {
  const int num_reported = request.num_prompt_logprobs - row.num_computed_tokens;
  const int num_skipped =
      std::clamp(num_reported, 0, static_cast<int>(output.prompt_logprobs.size()));
  request.num_prompt_logprobs =
      std::max(request.num_prompt_logprobs, num_prompt_logprobs_after(request, row));
  return {output.prompt_logprobs.begin() + num_skipped, output.prompt_logprobs.end()};
}

void Scheduler::abort(const std::vector<RequestId>& ids) {
  for (const RequestId id : ids) {
    const auto found = requests_.find(id);
    if (found != requests_.end()) {
      remove(*found->second);
    }
  }
}

// Takes a running request's blocks and its row at the runner away.
void Scheduler::release(Request& request) {
  CHECK(request.status == RequestStatus::kRunning);
  running_.erase(
      std::lower_bound(running_.begin(), running_.end(), &request, RunsBefore{config_.policy}));
  kv_cache_manager_.free(request.block_table);
  if (const auto& adapter = request.engine_request->adapter) {
    kv_cache_manager_.adapters().release(adapter->extent.id);
  }
  finished_ids_.push_back(request.engine_request->id);
}

// A row still in flight keeps writing to blocks freed here; see kv_cache_manager.h why it may.
void Scheduler::remove(Request& request) {
  if (request.status == RequestStatus::kRunning) {
    release(request);
  } else {
    waiting_.erase(&request);
  }
  requests_.erase(request.engine_request->id);
}

const Request* Scheduler::find(RequestId id) const {
  const auto found = requests_.find(id);
  return found == requests_.end() ? nullptr : found->second.get();
}

}  // namespace quire
