// Random configurations and requests, and what each request must give when it runs alone.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "scheduler/scheduler.h"
#include "simulation/adapters.h"
#include "simulation/random.h"

namespace quire::simulation {

struct ExpectedOutput {
  std::vector<int32_t> token_ids;
  FinishReason finish_reason = FinishReason::kLength;
  StopReason stop_reason;
};

SchedulerConfig random_config(Random& random);

class Workload {
 public:
  Workload(const SchedulerConfig& config, uint64_t seed);

  // Prompts often share prefixes, repeat, or continue an earlier answer, be it with another
  // adapter.
  std::shared_ptr<const EngineRequest> next_request();
  // By the definition of the model and of the stop conditions, without scheduler and cache.
  ExpectedOutput expected_output(const EngineRequest& request);

 private:
  std::vector<int32_t> random_prompt();
  std::optional<RequestAdapter> random_adapter(const EngineRequest& request);

  SchedulerConfig config_;
  Random random_;
  Adapters adapters_;
  RequestId next_id_ = 1;
  std::deque<std::vector<int32_t>> conversations_;  // recent prompts with their answers
};

}  // namespace quire::simulation
