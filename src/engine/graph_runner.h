// Recorded work for decode steps, by batch size: replaying it costs one launch instead of hundreds.
// Knows neither rows nor models.
#pragma once

#include <functional>
#include <map>
#include <optional>

#include "tensor/stream.h"

namespace quire {

// Thread: device.
class GraphRunner {
 public:
  // For steps of up to `max_num_seqs` sequences.
  GraphRunner(Stream& stream, int max_num_seqs);
  ~GraphRunner();
  GraphRunner(const GraphRunner&) = delete;
  GraphRunner& operator=(const GraphRunner&) = delete;

  // The batch sizes that are recorded, ascending; none on a device without graphs.
  const std::map<int, void*>& buckets() const { return graphs_; }
  // The smallest of them that holds `num_seqs` sequences.
  std::optional<int> bucket_for(int num_seqs) const;
  // Queues `work`, which must do the same for the same bucket, at the same addresses.  The first
  // time it runs as it is, so that kernels can allocate and choose, and is recorded after that.
  void run(int bucket, const std::function<void()>& work);

 private:
  Stream& stream_;
  std::map<int, void*> graphs_;  // null until recorded
};

}  // namespace quire
