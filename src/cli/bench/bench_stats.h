// The statistics of serving benchmarks, with the definitions of vLLM's `bench serve`.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace quire {

// One request as the client saw it.
struct RequestTiming {
  bool ok = false;
  std::string error;
  int num_prompt_tokens = 0;
  int num_output_tokens = 0;
  double ttft_s = 0;          // sent to first chunk
  double latency_s = 0;       // sent to last chunk (E2EL)
  std::vector<double> itl_s;  // between chunks
};

struct Distribution {
  double mean = 0;
  double median = 0;
  double stddev = 0;                // of the population
  std::vector<double> percentiles;  // of the ones asked for, in order
};

// Percentiles interpolate linearly between ranks, as numpy.percentile.  All zero if `values` is
// empty.
Distribution distribution(std::vector<double> values, const std::vector<double>& percentiles);

struct BenchMetrics {
  int num_completed = 0;
  int num_failed = 0;
  int64_t num_prompt_tokens = 0;
  int64_t num_output_tokens = 0;
  double duration_s = 0;
  double request_throughput = 0;      // completed / s
  double output_throughput = 0;       // output tokens / s
  double total_token_throughput = 0;  // prompt and output tokens / s
  Distribution ttft_ms;               // time to first token
  Distribution tpot_ms;  // (E2EL - TTFT) / (output tokens - 1), of requests with more than one
  Distribution itl_ms;   // over all gaps of all requests
  Distribution e2el_ms;
};

// Failed requests count only as failed.
BenchMetrics compute_metrics(const std::vector<RequestTiming>& timings, double duration_s,
                             const std::vector<double>& percentiles);

struct MetricChoice {
  std::vector<std::string> names;   // of ttft, tpot, itl, e2el
  std::vector<double> percentiles;  // 0 .. 100
};

// The fields of vLLM's result file: request_throughput, mean_ttft_ms, p99_ttft_ms, ...
nlohmann::ordered_json metrics_json(const BenchMetrics& metrics, const MetricChoice& choice);
// The table for people.
std::string metrics_table(const BenchMetrics& metrics, const MetricChoice& choice);

// "p99", "p99.9".
std::string percentile_name(double percentile);

}  // namespace quire
