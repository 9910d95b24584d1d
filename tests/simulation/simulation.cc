#include "simulation/simulation.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "scheduler/scheduler.h"
#include "simulation/invariants.h"
#include "simulation/random.h"
#include "simulation/simulated_model.h"
#include "simulation/workload.h"

namespace quire::simulation {
namespace {

constexpr int kMaxIdleSteps = 2;
constexpr size_t kMaxLiveRequests = 24;

// In which so many tokens have to be computed, some of them more than once: as if no two were in
// one step.
int64_t steps_for(int64_t num_tokens) { return 2 + 2 * num_tokens; }

class Simulation {
 public:
  explicit Simulation(uint64_t seed)
      : random_(seed),
        config_(random_config(random_)),
        workload_(config_, random_.next()),
        scheduler_(config_),
        runner_(config_.kv_cache_spec, config_.num_blocks) {}

  SimulationResult run(int num_steps);

 private:
  struct Expectation {
    std::shared_ptr<const EngineRequest> request;
    int64_t last_step = 0;  // in which it may end
    ExpectedOutput output;
    size_t num_received = 0;
    size_t num_prompt_logprobs = 0;
  };
  struct PendingStep {
    SchedulerOutput step;
    ModelRunnerOutput output;
  };

  void fail(const std::string& what) {
    if (result_.violation.empty() && !what.empty()) {
      result_.violation = what;
    }
  }
  void arrive();
  int64_t num_live_tokens() const;
  void abort_some();
  void step_once();
  void update_oldest();
  void receive(const StepResult& result);
  void receive_tokens(const StepResult& result, Expectation& expectation);
  void receive_prompt_logprobs(const StepResult& result, Expectation& expectation);
  void end(RequestId id);
  void check_end();

  Random random_;
  SchedulerConfig config_;
  Workload workload_;
  Scheduler scheduler_;
  SimulatedRunner runner_;
  std::unordered_map<RequestId, Expectation> expectations_;  // of live requests
  std::vector<RequestId> live_;
  std::deque<PendingStep> pending_;
  int num_idle_steps_ = 0;
  SimulationResult result_;
};

SimulationResult Simulation::run(int num_steps) {
  int arrivals_one_in = 2;
  for (int i = 0; i < num_steps && result_.violation.empty(); ++i) {
    if (i % 64 == 0) {
      arrivals_one_in = random_.between(1, 12);  // quiet and busy times
    }
    if (random_.one_in(arrivals_one_in)) {
      arrive();
    }
    abort_some();
    step_once();
    if (live_.empty() && random_.one_in(4) && !scheduler_.reset_prefix_cache()) {
      fail("the idle scheduler can't reset its prefix cache");
    }
  }
  const int64_t last_step = result_.num_steps + steps_for(num_live_tokens());
  while (result_.num_steps < last_step && result_.violation.empty() &&
         (scheduler_.has_unfinished_requests() || !pending_.empty())) {
    step_once();
  }
  check_end();
  return result_;
}

void Simulation::arrive() {
  // Several at once, as the children of one request with n > 1 or a burst.
  for (int i = random_.one_in(4) ? random_.between(2, 4) : 1; i > 0; --i) {
    if (live_.size() >= kMaxLiveRequests) {
      return;
    }
    std::shared_ptr<const EngineRequest> request = workload_.next_request();
    live_.push_back(request->id);
    Expectation& expectation = expectations_[request->id];
    expectation.request = request;
    expectation.output = workload_.expected_output(*request);
    // While its adapter is to be loaded, others may pass it.
    expectation.last_step =
        result_.num_steps +
        steps_for(num_live_tokens() + int64_t{kMaxPassed} * config_.max_model_len);
    scheduler_.add(std::move(request));
  }
}

int64_t Simulation::num_live_tokens() const {
  int64_t num_tokens = 0;
  for (const RequestId id : live_) {
    const EngineRequest& request = *expectations_.at(id).request;
    num_tokens += std::ssize(request.prompt_token_ids) + request.max_tokens;
  }
  return num_tokens;
}

void Simulation::abort_some() {
  if (live_.empty() || !random_.one_in(24)) {
    return;
  }
  const RequestId id = live_[random_.next() % live_.size()];
  scheduler_.abort({id, id + 1000000});
  ++result_.num_aborted;
  end(id);
}

void Simulation::step_once() {
  ++result_.num_steps;
  const double now_s = static_cast<double>(result_.num_steps);
  SchedulerOutput step = scheduler_.schedule(now_s);
  fail(check_step(scheduler_, config_, step, live_));
  fail(check_state(scheduler_, config_, live_));
  const bool is_idle = step.empty();
  if (!is_idle) {
    ModelRunnerOutput output = runner_.run(step);
    pending_.push_back({.step = std::move(step), .output = std::move(output)});
    fail(runner_.violation());
  }
  num_idle_steps_ = is_idle && pending_.empty() && !live_.empty() ? num_idle_steps_ + 1 : 0;
  if (num_idle_steps_ > kMaxIdleSteps) {
    fail("requests wait and nothing runs");
  }
  abort_some();
  const size_t num_in_flight = config_.async_scheduling && !is_idle ? 1 : 0;
  while (pending_.size() > num_in_flight && result_.violation.empty()) {
    update_oldest();
  }
}

void Simulation::update_oldest() {
  const PendingStep pending = std::move(pending_.front());
  pending_.pop_front();
  for (const StepResult& result :
       scheduler_.update(pending.step, pending.output, static_cast<double>(result_.num_steps))) {
    receive(result);
  }
  fail(check_state(scheduler_, config_, live_));
}

void Simulation::receive(const StepResult& result) {
  const auto found = expectations_.find(result.id);
  if (found == expectations_.end()) {
    fail("a result for request " + std::to_string(result.id) + ", which has ended");
    return;
  }
  Expectation& expectation = found->second;
  const EngineRequest& request = *expectation.request;
  receive_prompt_logprobs(result, expectation);
  receive_tokens(result, expectation);
  const int num_cached = result.num_cached_tokens;
  if (num_cached % config_.kv_cache_spec.block_size != 0 ||
      num_cached >= static_cast<int>(request.prompt_token_ids.size()) ||
      (num_cached > 0 && (request.params->prompt_logprobs || !config_.enable_prefix_caching))) {
    fail("wrong num_cached_tokens");
  }
  if (result.scheduled_time_s <= 0.0 ||
      (result.first_token_time_s < result.scheduled_time_s) != (expectation.num_received == 0)) {
    fail("wrong times");
  }
  if (result.finish_reason.has_value()) {
    if (expectation.num_received != expectation.output.token_ids.size() ||
        *result.finish_reason != expectation.output.finish_reason ||
        result.stop_reason != expectation.output.stop_reason) {
      fail("request " + std::to_string(result.id) + " finished wrongly");
    }
    if (request.params->prompt_logprobs &&
        expectation.num_prompt_logprobs + 1 != request.prompt_token_ids.size()) {
      fail("prompt logprobs are missing");
    }
    ++result_.num_finished;
    result_.num_cached_tokens += num_cached;
    result_.num_cached_tokens_with_adapter += request.adapter ? num_cached : 0;
    // Those of a low priority may wait for as long as others come.
    if (config_.policy != SchedulingPolicy::kPriority &&
        result_.num_steps > expectation.last_step) {
      fail("request " + std::to_string(result.id) + " waited too long");
    }
    end(result.id);
  } else if (expectation.num_received >= expectation.output.token_ids.size()) {
    fail("request " + std::to_string(result.id) + " did not finish");
  }
}

void Simulation::receive_tokens(const StepResult& result, Expectation& expectation) {
  const std::vector<int32_t>& expected = expectation.output.token_ids;
  const bool wants_logprobs = expectation.request->params->logprobs.has_value();
  if (result.logprobs.size() != (wants_logprobs ? result.new_token_ids.size() : 0)) {
    fail("wrong number of logprobs");
    return;
  }
  for (size_t i = 0; i < result.new_token_ids.size(); ++i) {
    const int32_t token_id = result.new_token_ids[i];
    if (expectation.num_received >= expected.size() ||
        token_id != expected[expectation.num_received] ||
        (wants_logprobs && result.logprobs[i].token_id != token_id)) {
      fail("request " + std::to_string(result.id) + ": wrong token " + std::to_string(token_id) +
           " at output position " + std::to_string(expectation.num_received));
      return;
    }
    ++expectation.num_received;
  }
}

void Simulation::receive_prompt_logprobs(const StepResult& result, Expectation& expectation) {
  for (const TokenLogprobs& logprobs : result.prompt_logprobs) {
    const size_t position = ++expectation.num_prompt_logprobs;
    const std::vector<int32_t>& prompt = expectation.request->prompt_token_ids;
    if (position >= prompt.size() || logprobs.token_id != prompt[position]) {
      fail("request " + std::to_string(result.id) + ": wrong prompt logprobs at position " +
           std::to_string(position));
      return;
    }
  }
}

void Simulation::end(RequestId id) {
  expectations_.erase(id);
  live_.erase(std::find(live_.begin(), live_.end(), id));
}

void Simulation::check_end() {
  const SchedulerStats stats = scheduler_.stats();
  result_.num_preemptions = stats.num_preemptions;
  result_.num_adapter_loads = stats.num_adapter_loads;
  result_.num_adapter_evictions = stats.num_adapter_evictions;
  if (!live_.empty() || scheduler_.has_unfinished_requests()) {
    fail("requests never end");
  }
  fail(check_state(scheduler_, config_, live_));
  if (!scheduler_.reset_prefix_cache()) {
    fail("blocks are lost");
  }
  if (scheduler_.kv_cache_manager().adapters().num_resident() != 0) {
    fail("an adapter outlives the reset");
  }
}

}  // namespace

SimulationResult run_simulation(uint64_t seed, int num_steps) {
  SimulationResult result = Simulation(seed).run(num_steps);
  if (!result.violation.empty()) {
    result.violation = "seed " + std::to_string(seed) + ", step " +
                       std::to_string(result.num_steps) + ": " + result.violation;
  }
  return result;
}

}  // namespace quire::simulation
