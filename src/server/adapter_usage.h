// Who uses which adapter: the limit per adapter, and what /metrics says by adapter.
#pragma once

#include <prometheus/labels.h>
#include <prometheus/metric_family.h>

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/expected.h"

namespace quire {

// Sequences that an adapter has finished or begun to answer.
struct AdapterCounts {
  static constexpr std::array<double, 12> kFirstTokenBoundsS = {
      0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0};
  int64_t num_finished = 0;
  int64_t prompt_tokens = 0;
  int64_t generation_tokens = 0;
  // Of times to first token up to each bound, and beyond.
  std::array<uint64_t, kFirstTokenBoundsS.size() + 1> first_tokens = {};
  double first_token_sum_s = 0.0;

  void add(const AdapterCounts& other);
};

// Any thread.
class AdapterUsage {
 public:
  // Adapters with series of their own; those that come later are counted together as "other", so
  // that the number of series is bounded.
  static constexpr size_t kMaxNames = 64;

  // max_sequences: of one adapter at once; 0 = no limit.
  explicit AdapterUsage(int max_sequences) : max_sequences_(max_sequences) {}

  // So many sequences with the adapter begin to wait.  Fails, and counts nothing, beyond the
  // limit: with 429, or 400 if they can never be within it.
  Expected<void, RequestError> begin(const std::string& name, int num_sequences);
  // One of them runs.
  void start_running(const std::string& name);
  // One of them has ended, or is not to be begun after all.
  void end(const std::string& name, bool was_running);
  void count_first_token(const std::string& name, double seconds);
  void count_finished(const std::string& name, int64_t prompt_tokens, int64_t generation_tokens);
  // The adapter is gone: what it was counted goes to "other", and makes place for another name.
  void forget(const std::string& name);

  // `labels` go on the counters by name.  max_loras: distinct adapters that can run at once.
  std::vector<prometheus::MetricFamily> collect(const prometheus::Labels& labels,
                                                int max_loras) const;

 private:
  struct Live {
    int num_waiting = 0;
    int num_running = 0;
    bool forgotten = false;  // what these are counted goes to "other"
  };

  AdapterCounts& counts_of(const std::string& name);

  const int max_sequences_;
  mutable std::mutex mutex_;                     // guards everything below
  std::map<std::string, Live> live_;             // adapters with sequences
  std::map<std::string, AdapterCounts> counts_;  // at most kMaxNames
  AdapterCounts other_;
};

}  // namespace quire
