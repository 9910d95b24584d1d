// Drives the whole control plane with random requests, adapters, aborts and limits on a simulated
// model, and compares every token with what the request gives alone.
#pragma once

#include <cstdint>
#include <string>

namespace quire::simulation {

struct SimulationResult {
  int64_t num_steps = 0;
  int64_t num_finished = 0;
  int64_t num_aborted = 0;
  int64_t num_preemptions = 0;
  int64_t num_cached_tokens = 0;
  int64_t num_cached_tokens_with_adapter = 0;  // of these
  int64_t num_adapter_loads = 0;
  int64_t num_adapter_evictions = 0;
  std::string violation;  // empty if all was well; names the seed
};

// Plans at least num_steps steps, then lets all requests end.
SimulationResult run_simulation(uint64_t seed, int num_steps);

}  // namespace quire::simulation
