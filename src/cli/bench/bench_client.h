// The client of quire bench serve: sends prompts at their times and takes the time of each chunk.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/bench/bench_dataset.h"
#include "cli/bench/bench_stats.h"

namespace quire {

struct BenchClientOptions {
  std::string url;       // of the endpoint
  bool is_chat = false;  // prompts as one user message
  std::string model;
  std::string api_key;
  nlohmann::json sampling;  // fields of every request
  ArrivalOptions arrivals;
  int max_concurrency = 0;      // 0 = no limit
  double timeout_s = 6 * 3600;  // vLLM's
};

struct BenchClientResult {
  std::vector<RequestTiming> timings;  // one per prompt
  double duration_s = 0;               // first send to last chunk
  int peak_concurrency = 0;
};

BenchClientResult run_bench_client(const BenchClientOptions& options,
                                   const std::vector<BenchPrompt>& prompts);

}  // namespace quire
