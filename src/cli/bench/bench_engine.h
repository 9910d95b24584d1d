// Prompts through an engine in this process, timed: what bench latency and bench throughput share.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/bench/bench_dataset.h"
#include "cli/bench/bench_stats.h"
#include "engine/engine_client.h"

namespace quire {

struct EngineRunResult {
  std::vector<RequestTiming> timings;  // one per prompt
  double duration_s = 0;
};

// Submits all prompts (token ids) at once and waits for the last token.  Outputs have exactly the
// asked length (EOS is ignored).  `sampling`: fields of sampling_json.h; greedy unless it says
// otherwise.  `adapters`: the name of each prompt's adapter, empty = the base model; or none at
// all. Throws LoadError if a prompt does not fit, an adapter is unknown, or the engine fails.
EngineRunResult run_on_engine(EngineClient& engine, const std::vector<BenchPrompt>& prompts,
                              const nlohmann::json& sampling,
                              const std::vector<std::string>& adapters = {});

}  // namespace quire
