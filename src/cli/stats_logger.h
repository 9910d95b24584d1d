// The line a server logs every few seconds while it works.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "engine/engine_client.h"

namespace quire {

// "prompt 12.0 tokens/s, generation 88.1 tokens/s, running 3, waiting 0, KV cache 1.2 %, ..." from
// two snapshots `interval_s` apart.
std::string stats_line(const EngineStats& before, const EngineStats& now, double interval_s);

// Logs from a thread of its own until destroyed; silent while nothing happens.
class StatsLogger {
 public:
  StatsLogger(const EngineClient& engine, double interval_s);
  ~StatsLogger();
  StatsLogger(const StatsLogger&) = delete;
  StatsLogger& operator=(const StatsLogger&) = delete;

 private:
  void run();

  const EngineClient& engine_;
  const double interval_s_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace quire
