// The engine's loop: requests in, steps through scheduler and runner, results out.  It knows
// neither how steps are planned nor how they are computed.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "engine/inbox.h"
#include "engine/model_runner.h"
#include "engine/step_cost.h"
#include "scheduler/scheduler.h"

namespace quire {

struct EngineCoreConfig {
  bool async_scheduling = true;  // launch a step before the previous one has been collected
  int max_queue_len = 1024;      // requests in flight beyond which add() refuses
  StepCostModel step_cost = {};  // of the model, for EngineStats
};

class EngineCore {
 public:
  // The references outlive this object and are touched by the engine thread only.
  EngineCore(const EngineCoreConfig& config, Scheduler& scheduler, ModelRunner& runner);

  // The engine thread's body: returns after stop(), or when the device has failed.
  void run();

  // Any thread; see EngineClient.
  Expected<void, RequestError> add(EngineRequest request, StepSink sink);
  void abort(RequestId id);
  bool reset_prefix_cache();
  EngineStats stats() const;
  // Makes run() return soon; what is in flight ends without a further result.  Any thread.
  void stop() { inbox_.close(); }

 private:
  // A request that was added and has not ended.
  struct LiveRequest {
    StepSink sink;
    int num_prompt_tokens = 0;
    bool has_output = false;
  };
  // A step the device has been given and whose result has not been taken.
  struct LaunchedStep {
    std::shared_ptr<const SchedulerOutput> step;
    PendingStep pending;
    double launch_time_s = 0.0;
  };

  void loop();
  // False once stopped.  Sleeps while there is nothing to do.
  bool admit_and_abort();
  void handle(AddCommand command);
  void handle(AbortCommand command);
  void handle(ResetPrefixCacheCommand command);
  // Plans and launches a step; false if there was nothing to launch.
  bool launch_step();
  // Waits for the oldest launched step and hands out its results.
  void finish_step();
  void count(const LaunchedStep& launched, double time_s);
  void publish(StepResult&& result);
  void publish_stats();
  void fail(const std::string& reason);

  const EngineCoreConfig config_;
  Inbox inbox_;
  std::atomic<int> num_in_flight_{0};  // any thread

  // Engine thread only.
  Scheduler& scheduler_;
  ModelRunner& runner_;
  std::unordered_map<RequestId, LiveRequest> live_;
  std::deque<LaunchedStep> launched_;
  bool idle_ = true;  // the last iteration found nothing to do
  double last_finish_time_s_ = 0.0;
  EngineStats counters_;

  mutable std::mutex stats_mutex_;
  EngineStats stats_;  // guarded by stats_mutex_: a copy of counters_ after each step
};

}  // namespace quire
