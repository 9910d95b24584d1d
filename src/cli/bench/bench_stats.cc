#include "cli/bench/bench_stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace quire {
namespace {

struct Metric {
  const char* name;
  const char* title;
  Distribution BenchMetrics::*values;
};

constexpr std::array kMetrics{
    Metric{"ttft", "Time to first token (TTFT)", &BenchMetrics::ttft_ms},
    Metric{"tpot", "Time per output token after the first (TPOT)", &BenchMetrics::tpot_ms},
    Metric{"itl", "Inter-token latency (ITL)", &BenchMetrics::itl_ms},
    Metric{"e2el", "End-to-end latency (E2EL)", &BenchMetrics::e2el_ms},
};

// Requires: sorted is not empty and in ascending order.
double percentile(const std::vector<double>& sorted, double percent) {
  const double rank = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (rank - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

bool is_chosen(const MetricChoice& choice, const char* name) {
  return std::find(choice.names.begin(), choice.names.end(), name) != choice.names.end();
}

}  // namespace

std::string percentile_name(double percentile) { return fmt::format("p{}", percentile); }

Distribution distribution(std::vector<double> values, const std::vector<double>& percentiles) {
  Distribution result;
  result.percentiles.resize(percentiles.size());
  if (values.empty()) {
    return result;
  }
  std::sort(values.begin(), values.end());
  const auto count = static_cast<double>(values.size());
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  result.median = percentile(values, 50);
  double squares = 0;
  for (const double value : values) {
    squares += (value - result.mean) * (value - result.mean);
  }
  result.stddev = std::sqrt(squares / count);
  std::transform(percentiles.begin(), percentiles.end(), result.percentiles.begin(),
                 [&](double percent) { return percentile(values, percent); });
  return result;
}

BenchMetrics compute_metrics(const std::vector<RequestTiming>& timings, double duration_s,
                             const std::vector<double>& percentiles) {
  BenchMetrics metrics;
  metrics.duration_s = duration_s;
  std::vector<double> ttft;
  std::vector<double> tpot;
  std::vector<double> itl;
  std::vector<double> e2el;
  for (const RequestTiming& timing : timings) {
    if (!timing.ok) {
      ++metrics.num_failed;
      continue;
    }
    ++metrics.num_completed;
    metrics.num_prompt_tokens += timing.num_prompt_tokens;
    metrics.num_output_tokens += timing.num_output_tokens;
    ttft.push_back(timing.ttft_s * 1e3);
    e2el.push_back(timing.latency_s * 1e3);
    if (timing.num_output_tokens > 1) {
      tpot.push_back((timing.latency_s - timing.ttft_s) * 1e3 / (timing.num_output_tokens - 1));
    }
    for (const double gap : timing.itl_s) {
      itl.push_back(gap * 1e3);
    }
  }
  const double seconds = std::max(duration_s, 1e-9);
  metrics.request_throughput = metrics.num_completed / seconds;
  metrics.output_throughput = static_cast<double>(metrics.num_output_tokens) / seconds;
  metrics.total_token_throughput =
      static_cast<double>(metrics.num_prompt_tokens + metrics.num_output_tokens) / seconds;
  metrics.ttft_ms = distribution(std::move(ttft), percentiles);
  metrics.tpot_ms = distribution(std::move(tpot), percentiles);
  metrics.itl_ms = distribution(std::move(itl), percentiles);
  metrics.e2el_ms = distribution(std::move(e2el), percentiles);
  return metrics;
}

nlohmann::ordered_json metrics_json(const BenchMetrics& metrics, const MetricChoice& choice) {
  nlohmann::ordered_json json = {{"duration", metrics.duration_s},
                                 {"completed", metrics.num_completed},
                                 {"failed", metrics.num_failed},
                                 {"total_input_tokens", metrics.num_prompt_tokens},
                                 {"total_output_tokens", metrics.num_output_tokens},
                                 {"request_throughput", metrics.request_throughput},
                                 {"output_throughput", metrics.output_throughput},
                                 {"total_token_throughput", metrics.total_token_throughput}};
  for (const Metric& metric : kMetrics) {
    if (!is_chosen(choice, metric.name)) {
      continue;
    }
    const Distribution& values = metrics.*metric.values;
    json[fmt::format("mean_{}_ms", metric.name)] = values.mean;
    json[fmt::format("median_{}_ms", metric.name)] = values.median;
    json[fmt::format("std_{}_ms", metric.name)] = values.stddev;
    for (size_t i = 0; i < choice.percentiles.size(); ++i) {
      json[fmt::format("{}_{}_ms", percentile_name(choice.percentiles[i]), metric.name)] =
          values.percentiles[i];
    }
  }
  return json;
}

std::string metrics_table(const BenchMetrics& metrics, const MetricChoice& choice) {
  std::string table;
  const auto row = [&](const std::string& name, const std::string& value) {
    table += fmt::format("{:<40} {:>12}\n", name, value);
  };
  const auto number = [](double value) { return fmt::format("{:.2f}", value); };
  row("Successful requests", std::to_string(metrics.num_completed));
  row("Failed requests", std::to_string(metrics.num_failed));
  row("Duration (s)", number(metrics.duration_s));
  row("Prompt tokens", std::to_string(metrics.num_prompt_tokens));
  row("Output tokens", std::to_string(metrics.num_output_tokens));
  row("Request throughput (requests/s)", number(metrics.request_throughput));
  row("Output throughput (tokens/s)", number(metrics.output_throughput));
  row("Total throughput (tokens/s)", number(metrics.total_token_throughput));
  for (const Metric& metric : kMetrics) {
    if (!is_chosen(choice, metric.name)) {
      continue;
    }
    const Distribution& values = metrics.*metric.values;
    table += fmt::format("--- {}, ms\n", metric.title);
    row("  mean", number(values.mean));
    row("  median", number(values.median));
    for (size_t i = 0; i < choice.percentiles.size(); ++i) {
      row("  " + percentile_name(choice.percentiles[i]), number(values.percentiles[i]));
    }
  }
  return table;
}

}  // namespace quire
