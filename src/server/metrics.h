// Prometheus metrics under vLLM's names.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "engine/engine_client.h"
#include "quire/outputs.h"
#include "server/adapter_usage.h"

namespace quire {

// A finished sequence; times are on the monotonic clock, 0 = never happened.
struct FinishedSequence {
  FinishReason reason = FinishReason::kStop;
  int64_t num_prompt_tokens = 0;
  int64_t num_cached_tokens = 0;
  int64_t num_generation_tokens = 0;
  int max_tokens = 0;
  int n = 1;
  double arrival_time_s = 0.0;
  double scheduled_time_s = 0.0;
  double first_token_time_s = 0.0;
  double finish_time_s = 0.0;
};

// What the server itself counts at the moment of a scrape.
struct ServerGauges {
  int num_connections = 0;
  int num_exchanges = 0;
};

// Any thread.
class ServerMetrics {
 public:
  ServerMetrics(const std::string& model_name, const EngineInfo& info);
  ~ServerMetrics();
  ServerMetrics(const ServerMetrics&) = delete;
  ServerMetrics& operator=(const ServerMetrics&) = delete;

  void observe_time_to_first_token(double seconds);
  void observe_inter_token_latency(double seconds);
  void count_finished(const FinishedSequence& sequence);
  // Once all completions of a prompt have ended: the length of the longest.
  void observe_max_generation_tokens(int64_t num_tokens);
  // `handler` is the route's path, so that the number of label values is bounded.
  void count_http(std::string_view handler, std::string_view method, int status);
  void count_disconnect();
  void count_slow_reader();
  void count_lost_results();
  void count_rejected(int status);

  // The exposition text.
  std::string expose(EngineClient& engine, const ServerGauges& gauges,
                     const AdapterUsage& adapters);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace quire
