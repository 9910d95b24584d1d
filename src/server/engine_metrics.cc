#include "server/engine_metrics.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "engine/adapter_registry.h"
#include "server/labelled_metric.h"

namespace quire {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// Rows of one name follow one another and differ in the label.
struct Figure {
  const char* name;
  const char* help;
  MetricType type;
  double value;
  const char* label = nullptr;  // beside those of every metric
  const char* label_value = nullptr;
};

constexpr MetricType kGauge = MetricType::Gauge;
constexpr MetricType kCounter = MetricType::Counter;

double count(int64_t n) { return static_cast<double>(n); }

// `part` of `whole`; 0 of nothing.
double share(int64_t part, int64_t whole) { return whole > 0 ? count(part) / count(whole) : 0.0; }

std::vector<Figure> scheduler_figures(const SchedulerStats& s) {
  constexpr const char* kWaitingByReason =
      "Sequences waiting to be scheduled, by reason: capacity = for room in the batch or the KV "
      "cache; deferred = for anything else.";
  return {
      {"vllm:num_requests_running", "Sequences in the running batch.", kGauge,
       count(s.num_running)},
      {"vllm:num_requests_waiting", "Sequences waiting to be scheduled.", kGauge,
       count(s.num_waiting)},
      {"vllm:num_requests_waiting_by_reason", kWaitingByReason, kGauge, count(s.num_waiting),
       "reason", "capacity"},
      {"vllm:num_requests_waiting_by_reason", kWaitingByReason, kGauge, 0.0, "reason", "deferred"},
      {"vllm:kv_cache_usage_perc", "Blocks in use; 1 = all.", kGauge,
       share(s.num_blocks - s.num_free_blocks, s.num_blocks)},
      {"quire:kv_cache_waste_perc", "Token slots of blocks in use that hold no token; 1 = all.",
       kGauge,
       share(s.num_allocated_token_slots - s.num_used_token_slots, s.num_allocated_token_slots)},
      {"vllm:prefix_cache_queries_total", "Tokens looked up in the prefix cache.", kCounter,
       count(s.prefix_cache_queries)},
      {"vllm:prefix_cache_hits_total", "Tokens found in the prefix cache.", kCounter,
       count(s.prefix_cache_hits)},
      {"vllm:num_preemptions_total", "Preempted sequences.", kCounter, count(s.num_preemptions)},
      {"vllm:corrupted_requests_total",
       "Sequences ended because the model gave values that are not finite.", kCounter,
       count(s.num_corrupted_requests)},
  };
}

std::vector<Figure> token_figures(const EngineStats& stats) {
  constexpr const char* kBySource =
      "Prompt tokens processed, by where their keys and values are from.";
  return {
      {"vllm:prompt_tokens_total", "Prompt tokens processed, computed or found in the cache.",
       kCounter, count(stats.prompt_tokens)},
      {"vllm:prompt_tokens_cached_total", "Prompt tokens found in the prefix cache.", kCounter,
       count(stats.cached_prompt_tokens)},
      {"vllm:prompt_tokens_by_source_total", kBySource, kCounter,
       count(stats.prompt_tokens - stats.cached_prompt_tokens), "source", "local_compute"},
      {"vllm:prompt_tokens_by_source_total", kBySource, kCounter, count(stats.cached_prompt_tokens),
       "source", "local_cache_hit"},
      {"vllm:prompt_tokens_by_source_total", kBySource, kCounter, 0.0, "source",
       "external_kv_transfer"},
      {"vllm:generation_tokens_total", "Tokens generated.", kCounter,
       count(stats.generation_tokens)},
      {"quire:engine_steps_total", "Engine steps.", kCounter, count(stats.num_steps)},
      {"quire:last_step_tokens", "Tokens computed in the latest step.", kGauge,
       count(stats.last_step_tokens)},
      {"quire:last_step_seconds", "Duration of the latest step.", kGauge, stats.last_step_s},
      {"quire:num_requests_in_flight", "Sequences the engine has not finished.", kGauge,
       count(stats.num_in_flight_requests)},
      {"quire:engine_healthy", "1 while the engine runs, 0 once it has failed.", kGauge,
       stats.healthy ? 1.0 : 0.0},
  };
}

std::vector<Figure> memory_figures(const DeviceMemory& memory) {
  constexpr const char* kHelp =
      "Memory of the device, by owner: kv_cache = of all blocks, used or not; workspace = what "
      "steps compute in; other = loaded kernels, recorded graphs and other processes (GPU only).";
  const auto figure = [&](const char* owner, int64_t num_bytes) {
    return Figure{"quire:device_memory_bytes", kHelp, kGauge, count(num_bytes), "owner", owner};
  };
  return {figure("weights", memory.weights_bytes), figure("kv_cache", memory.kv_cache_bytes),
          figure("workspace", memory.workspace_bytes), figure("other", memory.other_bytes),
          figure("free", memory.free_bytes)};
}

// Idle adapters, like cached prefixes, make way when their blocks are needed.
std::vector<Figure> arena_figures(const SchedulerStats& s, const EngineInfo& info) {
  constexpr const char* kHelp =
      "Bytes of the blocks of the KV cache, by owner: kv = of running sequences; "
      "adapters = adapters in place, used or idle; free = empty, or of cached prefixes.";
  const int64_t block_bytes = info.num_blocks > 0 ? info.kv_cache_bytes / info.num_blocks : 0;
  const int64_t num_kv_blocks = s.num_allocated_token_slots / std::max(1, info.block_size);
  const auto figure = [&](const char* owner, int64_t num_blocks) {
    return Figure{"quire:kv_arena_bytes",          kHelp,   kGauge,
                  count(num_blocks * block_bytes), "owner", owner};
  };
  return {figure("kv", num_kv_blocks), figure("adapters", s.num_adapter_blocks),
          figure("free", s.num_blocks - num_kv_blocks - s.num_adapter_blocks)};
}

std::vector<Figure> adapter_figures(const SchedulerStats& s, const AdapterTotals& totals) {
  return {
      {"quire:lora_registered_adapters", "Adapters that requests may name.", kGauge,
       count(totals.num_adapters)},
      {"quire:lora_host_adapters", "Adapters in host memory.", kGauge,
       count(totals.num_in_host_memory)},
      {"quire:lora_host_bytes", "Bytes of the adapters in host memory.", kGauge,
       count(totals.host_bytes)},
      {"quire:lora_resident_adapters", "Adapters in place in the KV cache's blocks.", kGauge,
       count(s.num_resident_adapters)},
      {"quire:lora_running_adapters", "Adapters that running sequences use.", kGauge,
       count(s.num_running_adapters)},
      {"quire:lora_loads_total", "Adapters copied into the KV cache's blocks.", kCounter,
       count(s.num_adapter_loads)},
      {"quire:lora_evictions_total", "Adapters evicted from the KV cache's blocks.", kCounter,
       count(s.num_adapter_evictions)},
  };
}

void append(std::vector<MetricFamily>& families, const std::vector<Figure>& figures,
            const prometheus::Labels& labels) {
  for (const Figure& figure : figures) {
    if (families.empty() || families.back().name != figure.name) {
      families.push_back({figure.name, figure.help, figure.type, {}});
    }
    ClientMetric& metric = families.back().metric.emplace_back(labelled_metric(labels));
    if (figure.label != nullptr) metric.label.push_back({figure.label, figure.label_value});
    metric.counter.value = figure.value;
    metric.gauge.value = figure.value;
  }
}

MetricFamily step_token_histogram(const StepTokenHistogram& steps,
                                  const prometheus::Labels& labels) {
  ClientMetric metric = labelled_metric(labels);
  uint64_t num_steps = 0;
  for (size_t i = 0; i < steps.counts.size(); ++i) {
    num_steps += static_cast<uint64_t>(steps.counts[i]);
    const double bound = i < StepTokenHistogram::kBounds.size()
                             ? StepTokenHistogram::kBounds[i]
                             : std::numeric_limits<double>::infinity();
    metric.histogram.bucket.push_back({num_steps, bound});
  }
  metric.histogram.sample_count = num_steps;
  metric.histogram.sample_sum = count(steps.sum);
  return {"vllm:iteration_tokens_total",
          "Tokens of an engine step, prompt and generated.",
          MetricType::Histogram,
          {std::move(metric)}};
}

}  // namespace

std::vector<MetricFamily> engine_metrics(EngineClient& engine, const prometheus::Labels& labels) {
  const EngineStats stats = engine.stats();
  std::vector<MetricFamily> families;
  append(families, scheduler_figures(stats.scheduler), labels);
  append(families, token_figures(stats), labels);
  append(families, memory_figures(engine.device_memory()), labels);
  append(families, arena_figures(stats.scheduler, engine.info()), labels);
  if (const AdapterRegistry* adapters = engine.adapters())
    append(families, adapter_figures(stats.scheduler, adapters->totals()), labels);
  families.push_back(step_token_histogram(stats.step_tokens, labels));
  return families;
}

}  // namespace quire
