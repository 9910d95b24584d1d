#include "server/adapter_usage.h"

#include <algorithm>
#include <ctime>
#include <limits>
#include <utility>

#include "server/labelled_metric.h"
#include "server/openai/errors.h"

namespace quire {
namespace {

using prometheus::ClientMetric;
using prometheus::Labels;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr const char* kOther = "other";

MetricFamily counter(const char* name, const char* help) {
  return {name, help, MetricType::Counter, {}};
}

ClientMetric count_metric(const Labels& labels, int64_t count) {
  ClientMetric metric = labelled_metric(labels);
  metric.counter.value = static_cast<double>(count);
  return metric;
}

ClientMetric first_token_metric(const Labels& labels, const AdapterCounts& counts) {
  ClientMetric metric = labelled_metric(labels);
  uint64_t num_observed = 0;
  for (size_t i = 0; i < counts.first_tokens.size(); ++i) {
    num_observed += counts.first_tokens[i];
    const double bound = i < AdapterCounts::kFirstTokenBoundsS.size()
                             ? AdapterCounts::kFirstTokenBoundsS[i]
                             : std::numeric_limits<double>::infinity();
    metric.histogram.bucket.push_back({num_observed, bound});
  }
  metric.histogram.sample_count = num_observed;
  metric.histogram.sample_sum = counts.first_token_sum_s;
  return metric;
}

void append_name(std::string& names, const std::string& name) {
  if (!names.empty()) names += ',';
  names += name;
}

}  // namespace

void AdapterCounts::add(const AdapterCounts& other) {
  num_finished += other.num_finished;
  prompt_tokens += other.prompt_tokens;
  generation_tokens += other.generation_tokens;
  for (size_t i = 0; i < first_tokens.size(); ++i) first_tokens[i] += other.first_tokens[i];
  first_token_sum_s += other.first_token_sum_s;
}

Expected<void, RequestError> AdapterUsage::begin(const std::string& name, int num_sequences) {
  const std::lock_guard lock(mutex_);
  if (max_sequences_ > 0 && num_sequences > max_sequences_) {
    return Unexpected{invalid_param("n", "The request asks for " + std::to_string(num_sequences) +
                                             " completions, but an adapter may have at most " +
                                             std::to_string(max_sequences_) + " at once.")};
  }
  const auto found = live_.find(name);
  const int num_live =
      found == live_.end() ? 0 : found->second.num_waiting + found->second.num_running;
  if (max_sequences_ > 0 && num_live + num_sequences > max_sequences_) {
    return Unexpected{http_error(429, "adapter_overloaded",
                                 "The adapter '" + name + "' has " + std::to_string(num_live) +
                                     " requests in flight, and at most " +
                                     std::to_string(max_sequences_) +
                                     " are allowed at once. Retry after a moment.")};
  }
  Live& live = live_[name];
  live.num_waiting += num_sequences;
  live.forgotten = false;
  return {};
}

void AdapterUsage::start_running(const std::string& name) {
  const std::lock_guard lock(mutex_);
  Live& live = live_.at(name);
  --live.num_waiting;
  ++live.num_running;
}

void AdapterUsage::end(const std::string& name, bool was_running) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(name);
  --(was_running ? found->second.num_running : found->second.num_waiting);
  if (found->second.num_running + found->second.num_waiting == 0) live_.erase(found);
}

void AdapterUsage::count_first_token(const std::string& name, double seconds) {
  const std::lock_guard lock(mutex_);
  AdapterCounts& counts = counts_of(name);
  const auto& bounds = AdapterCounts::kFirstTokenBoundsS;
  ++counts.first_tokens[static_cast<size_t>(std::ranges::lower_bound(bounds, seconds) -
                                            bounds.begin())];
  counts.first_token_sum_s += seconds;
}

void AdapterUsage::count_finished(const std::string& name, int64_t prompt_tokens,
                                  int64_t generation_tokens) {
  const std::lock_guard lock(mutex_);
  AdapterCounts& counts = counts_of(name);
  ++counts.num_finished;
  counts.prompt_tokens += prompt_tokens;
  counts.generation_tokens += generation_tokens;
}

void AdapterUsage::forget(const std::string& name) {
  const std::lock_guard lock(mutex_);
  if (const auto live = live_.find(name); live != live_.end()) live->second.forgotten = true;
  const auto found = counts_.find(name);
  if (found == counts_.end()) return;
  other_.add(found->second);
  counts_.erase(found);
}

AdapterCounts& AdapterUsage::counts_of(const std::string& name) {
  const auto live = live_.find(name);
  if (live != live_.end() && live->second.forgotten) return other_;
  const auto found = counts_.find(name);
  if (found != counts_.end()) return found->second;
  return counts_.size() < kMaxNames && name != kOther ? counts_[name] : other_;
}

std::vector<MetricFamily> AdapterUsage::collect(const Labels& labels, int max_loras) const {
  MetricFamily requests = counter("quire:lora_requests_total", "Finished sequences, by adapter.");
  MetricFamily prompts =
      counter("quire:lora_prompt_tokens_total", "Prompt tokens of finished sequences, by adapter.");
  MetricFamily generated = counter("quire:lora_generation_tokens_total",
                                   "Tokens generated by finished sequences, by adapter.");
  MetricFamily first_tokens{"quire:lora_time_to_first_token_seconds",
                            "Time to first token, by adapter.",
                            MetricType::Histogram,
                            {}};
  const auto add = [&](const std::string& name, const AdapterCounts& counts) {
    Labels with_name = labels;
    with_name["lora_name"] = name;
    requests.metric.push_back(count_metric(with_name, counts.num_finished));
    prompts.metric.push_back(count_metric(with_name, counts.prompt_tokens));
    generated.metric.push_back(count_metric(with_name, counts.generation_tokens));
    first_tokens.metric.push_back(first_token_metric(with_name, counts));
  };
  std::string running;
  std::string waiting;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, counts] : counts_) add(name, counts);
    add(kOther, other_);
    for (const auto& [name, live] : live_) {
      if (live.num_running > 0) append_name(running, name);
      if (live.num_waiting > 0) append_name(waiting, name);
    }
  }
  ClientMetric info = labelled_metric({{"max_lora", std::to_string(max_loras)},
                                       {"running_lora_adapters", running},
                                       {"waiting_lora_adapters", waiting}});
  info.gauge.value = static_cast<double>(std::time(nullptr));
  MetricFamily infos{"vllm:lora_requests_info",
                     "Adapters of running and of waiting requests, in the labels; the value is the "
                     "time, in seconds since 1970.",
                     MetricType::Gauge,
                     {std::move(info)}};
  return {std::move(infos), std::move(requests), std::move(prompts), std::move(generated),
          std::move(first_tokens)};
}

}  // namespace quire
