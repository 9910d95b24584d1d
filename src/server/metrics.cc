#include "server/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "server/engine_metrics.h"

namespace quire {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;
using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

// The bucket boundaries of vLLM's metrics of the same names.
const Buckets kFirstTokenBuckets = {0.001, 0.005, 0.01, 0.02,  0.04,  0.06,  0.08, 0.1,
                                    0.25,  0.5,   0.75, 1.0,   2.5,   5.0,   7.5,  10.0,
                                    20.0,  40.0,  80.0, 160.0, 640.0, 2560.0};
const Buckets kTokenLatencyBuckets = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2,  0.3,  0.4, 0.5,
                                      0.75, 1.0,   2.5,  5.0,   7.5, 10.0, 20.0, 40.0, 80.0};
const Buckets kRequestLatencyBuckets = {0.3,  0.5,   0.8,   1.0,   1.5,   2.0,    2.5,
                                        5.0,  10.0,  15.0,  20.0,  30.0,  40.0,   50.0,
                                        60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0};
const Buckets kNumCompletionsBuckets = {1, 2, 5, 10, 20};

// 1, 2, 5, 10, 20, ... up to the longest request.
Buckets token_count_buckets(int max_model_len) {
  Buckets buckets;
  for (double decade = 1; decade <= max_model_len; decade *= 10) {
    for (const double step : {1.0, 2.0, 5.0}) {
      if (decade * step <= max_model_len) buckets.push_back(decade * step);
    }
  }
  return buckets;
}

double seconds_between(double from_s, double to_s) {
  return from_s > 0.0 && to_s > from_s ? to_s - from_s : 0.0;
}

}  // namespace

class ServerMetrics::State {
 public:
  State(const std::string& model_name, const EngineInfo& info)
      : labels{{"model_name", model_name}, {"engine", "0"}},
        first_token(histogram("vllm:time_to_first_token_seconds", "Time to first token.",
                              kFirstTokenBuckets)),
        inter_token(histogram("vllm:inter_token_latency_seconds",
                              "Time between outputs of a sequence.", kTokenLatencyBuckets)),
        time_per_output_token(histogram("vllm:request_time_per_output_token_seconds",
                                        "Mean time per output token after the first, by sequence.",
                                        kTokenLatencyBuckets)),
        e2e(histogram("vllm:e2e_request_latency_seconds", "From arrival to the last token.",
                      kRequestLatencyBuckets)),
        queue_time(histogram("vllm:request_queue_time_seconds", "Time in the waiting queue.",
                             kRequestLatencyBuckets)),
        inference_time(histogram("vllm:request_inference_time_seconds",
                                 "Time since first scheduled.", kRequestLatencyBuckets)),
        prefill_time(histogram("vllm:request_prefill_time_seconds",
                               "From first scheduled to first token.", kRequestLatencyBuckets)),
        decode_time(histogram("vllm:request_decode_time_seconds", "From first to last token.",
                              kRequestLatencyBuckets)),
        prompt_tokens(histogram("vllm:request_prompt_tokens", "Prompt tokens of a sequence.",
                                token_count_buckets(info.max_model_len))),
        generation_tokens(histogram("vllm:request_generation_tokens",
                                    "Generated tokens of a sequence.",
                                    token_count_buckets(info.max_model_len))),
        computed_prefill(histogram("vllm:request_prefill_kv_computed_tokens",
                                   "Prompt tokens not found in the prefix cache.",
                                   token_count_buckets(info.max_model_len))),
        max_generation_tokens(histogram("vllm:request_max_num_generation_tokens",
                                        "Tokens of the longest of a prompt's n completions.",
                                        token_count_buckets(info.max_model_len))),
        params_n(histogram("vllm:request_params_n", "The n of a request.", kNumCompletionsBuckets)),
        params_max_tokens(histogram("vllm:request_params_max_tokens",
                                    "The max_tokens of a sequence.",
                                    token_count_buckets(info.max_model_len))),
        success(counters("vllm:request_success_total", "Finished sequences.")),
        http(counters("http_requests_total", "Answered HTTP requests.")),
        disconnects(
            counter("quire:client_disconnects_total", "Clients gone before their answer ended.")),
        slow_readers(counter("quire:slow_readers_total",
                             "Connections cut because the client read too slowly.")),
        lost_results(counter("quire:lost_results_total",
                             "API requests given up because the server fell behind the engine.")),
        rejected(
            counters("quire:requests_rejected_total", "API requests refused, by HTTP status.")) {
    cache_config = {{"block_size", std::to_string(info.block_size)},
                    {"cache_dtype", info.dtype},
                    {"enable_prefix_caching", info.enable_prefix_caching ? "True" : "False"},
                    {"kv_cache_memory_bytes", std::to_string(info.kv_cache_bytes)},
                    {"num_gpu_blocks", std::to_string(info.num_blocks)}};
    for (const FinishReason reason :
         {FinishReason::kStop, FinishReason::kLength, FinishReason::kAbort,
          FinishReason::kRepetition, FinishReason::kError}) {
      success.Add({{"finished_reason", to_string(reason)}});
    }
  }

  prometheus::Registry registry;
  const prometheus::Labels labels;
  prometheus::Labels cache_config;
  prometheus::Histogram& first_token;
  prometheus::Histogram& inter_token;
  prometheus::Histogram& time_per_output_token;
  prometheus::Histogram& e2e;
  prometheus::Histogram& queue_time;
  prometheus::Histogram& inference_time;
  prometheus::Histogram& prefill_time;
  prometheus::Histogram& decode_time;
  prometheus::Histogram& prompt_tokens;
  prometheus::Histogram& generation_tokens;
  prometheus::Histogram& computed_prefill;
  prometheus::Histogram& max_generation_tokens;
  prometheus::Histogram& params_n;
  prometheus::Histogram& params_max_tokens;
  prometheus::Family<prometheus::Counter>& success;
  prometheus::Family<prometheus::Counter>& http;
  prometheus::Counter& disconnects;
  prometheus::Counter& slow_readers;
  prometheus::Counter& lost_results;
  prometheus::Family<prometheus::Counter>& rejected;

 private:
  prometheus::Histogram& histogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Labels(labels).Register(registry).Add(
        {}, buckets);
  }
  prometheus::Family<prometheus::Counter>& counters(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Labels(labels).Register(registry);
  }
  prometheus::Counter& counter(const char* name, const char* help) {
    return counters(name, help).Add({});
  }
};

ServerMetrics::ServerMetrics(const std::string& model_name, const EngineInfo& info)
    : state_(std::make_unique<State>(model_name, info)) {}
ServerMetrics::~ServerMetrics() = default;

void ServerMetrics::observe_time_to_first_token(double seconds) {
  state_->first_token.Observe(seconds);
}
void ServerMetrics::observe_inter_token_latency(double seconds) {
  state_->inter_token.Observe(seconds);
}
void ServerMetrics::count_disconnect() { state_->disconnects.Increment(); }
void ServerMetrics::count_slow_reader() { state_->slow_readers.Increment(); }

void ServerMetrics::count_lost_results() { state_->lost_results.Increment(); }

void ServerMetrics::observe_max_generation_tokens(int64_t num_tokens) {
  state_->max_generation_tokens.Observe(static_cast<double>(num_tokens));
}

void ServerMetrics::count_rejected(int status) {
  state_->rejected.Add({{"status", std::to_string(status)}}).Increment();
}

void ServerMetrics::count_http(std::string_view handler, std::string_view method, int status) {
  state_->http
      .Add({{"handler", std::string(handler)},
            {"method", std::string(method)},
            {"status", std::to_string(status)}})
      .Increment();
}

void ServerMetrics::count_finished(const FinishedSequence& sequence) {
  State& m = *state_;
  m.success.Add({{"finished_reason", to_string(sequence.reason)}}).Increment();
  const double decode_s = seconds_between(sequence.first_token_time_s, sequence.finish_time_s);
  m.e2e.Observe(seconds_between(sequence.arrival_time_s, sequence.finish_time_s));
  m.queue_time.Observe(seconds_between(sequence.arrival_time_s, sequence.scheduled_time_s));
  m.inference_time.Observe(seconds_between(sequence.scheduled_time_s, sequence.finish_time_s));
  m.prefill_time.Observe(seconds_between(sequence.scheduled_time_s, sequence.first_token_time_s));
  m.decode_time.Observe(decode_s);
  if (sequence.num_generation_tokens > 1) {
    m.time_per_output_token.Observe(decode_s /
                                    static_cast<double>(sequence.num_generation_tokens - 1));
  }
  m.prompt_tokens.Observe(static_cast<double>(sequence.num_prompt_tokens));
  m.generation_tokens.Observe(static_cast<double>(sequence.num_generation_tokens));
  m.computed_prefill.Observe(
      static_cast<double>(sequence.num_prompt_tokens - sequence.num_cached_tokens));
  m.params_n.Observe(sequence.n);
  m.params_max_tokens.Observe(sequence.max_tokens);
}

std::string ServerMetrics::expose(EngineClient& engine, const ServerGauges& gauges,
                                  const AdapterUsage& adapters) {
  std::vector<MetricFamily> families = state_->registry.Collect();
  std::ranges::move(engine_metrics(engine, state_->labels), std::back_inserter(families));
  if (engine.adapters() != nullptr) {
    std::ranges::move(adapters.collect(state_->labels, engine.info().max_loras),
                      std::back_inserter(families));
  }
  const auto add_gauge = [&](const char* name, const char* help, double value,
                             const prometheus::Labels& labels) {
    ClientMetric metric;
    for (const auto& [label, text] : labels) metric.label.push_back({label, text});
    metric.gauge.value = value;
    families.push_back({name, help, MetricType::Gauge, {std::move(metric)}});
  };
  add_gauge("quire:http_connections", "Open connections.", gauges.num_connections, state_->labels);
  add_gauge("quire:http_requests_in_flight", "HTTP requests not fully answered.",
            gauges.num_exchanges, state_->labels);
  prometheus::Labels cache_labels = state_->labels;
  cache_labels.insert(state_->cache_config.begin(), state_->cache_config.end());
  add_gauge("vllm:cache_config_info", "Configuration of the KV cache, in the labels; always 1.",
            1.0, cache_labels);
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace quire
