// What every part of a running server shares.
#pragma once

#include <atomic>
#include <cstdint>

#include "engine/engine_client.h"
#include "engine/input_processor.h"
#include "server/adapter_usage.h"
#include "server/metrics.h"
#include "server/server.h"
#include "server/worker_pool.h"

namespace quire {

// Any thread; outlives all connections.
struct ServerContext {
  ServerContext(const ServerConfig& server_config, EngineClient& engine_client,
                const TextModel& text_model);

  const ServerConfig config;
  EngineClient& engine;
  const TextModel text;
  const InputProcessor input_processor;
  const int64_t created_unix_s;
  const int64_t max_token_bytes;  // of the longest token; bounds a prompt's tokens from below
  ServerMetrics metrics;
  AdapterUsage adapter_usage;
  WorkerPool workers;
  WorkerPool adapter_workers;  // apart, so that reading adapters holds up nobody who needs none

  std::atomic<bool> draining{false};
  std::atomic<int> num_connections{0};
  std::atomic<int> num_exchanges{0};    // requests read and not yet answered to the last byte
  std::atomic<int> num_generations{0};  // API requests in the engine
  std::atomic<int64_t> buffered_body_bytes{0};  // request bodies held
};

}  // namespace quire
