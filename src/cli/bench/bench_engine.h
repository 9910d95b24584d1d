// Prompts through an engine in this process, timed: what bench latency, throughput and
// lora share.
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

// When all prompts of a run had their first token.
double all_started_s(const EngineRunResult& result);
// The times between tokens from then on, of a run that submitted its prompts at once: of steps that
// only decode.
std::vector<double> decode_itls(const EngineRunResult& result);

struct EngineRunOptions {
  nlohmann::json sampling = nlohmann::json::object();  // fields of sampling_json.h
  // The name of each prompt's adapter, empty = the base model; or none at all.
  std::vector<std::string> adapters = {};
  // Seconds from the start at which prompts are submitted, ascending; none: all at once, or as
  // max_in_flight says.
  std::vector<double> arrivals_s = {};
  int max_in_flight = 0;  // the next prompt is submitted when one of so many has ended; 0: no limit
};

// Submits the prompts (token ids) and waits for the last token.  Outputs have exactly the asked
// length (EOS is ignored) and are greedy unless the sampling fields say otherwise.  Times count
// from a prompt's own submission, which begins with acquiring its adapter; from the start of all if
// they are submitted at once.
// Throws LoadError if a prompt does not fit, an adapter is unknown, or the engine fails.
EngineRunResult run_on_engine(EngineClient& engine, const std::vector<BenchPrompt>& prompts,
                              const EngineRunOptions& options);

}  // namespace quire
