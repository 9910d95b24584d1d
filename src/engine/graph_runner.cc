#include "engine/graph_runner.h"

#include <algorithm>

namespace quire {
namespace {

// Sizes 1, 2, 4, 8, 16, 24, ... 128, 192, 256, ...: padding computes at most 7 rows too many while
// a step is bound by the weights, and a sixth of the batch beyond that.
int next_bucket(int bucket) {
  if (bucket < 8) return 2 * bucket;
  return bucket + (bucket < 128 ? 8 : 64);
}

}  // namespace

GraphRunner::GraphRunner(Stream& stream, int max_num_seqs) : stream_(stream) {
  if (stream.device().begin_capture == nullptr) return;
  for (int bucket = 1; bucket < max_num_seqs; bucket = next_bucket(bucket))
    graphs_[bucket] = nullptr;
  graphs_[max_num_seqs] = nullptr;
}

GraphRunner::~GraphRunner() {
  for (const auto& [bucket, graph] : graphs_) {
    if (graph != nullptr) stream_.device().destroy_graph(graph);
  }
}

std::optional<int> GraphRunner::bucket_for(int num_seqs) const {
  const auto found = graphs_.lower_bound(num_seqs);
  if (found == graphs_.end()) return std::nullopt;
  return found->first;
}

void GraphRunner::run(int bucket, const std::function<void()>& work) {
  void*& graph = graphs_.at(bucket);
  const Device& device = stream_.device();
  if (graph != nullptr) {
    device.launch_graph(stream_.queue(), graph);
    return;
  }
  work();
  device.begin_capture(stream_.queue());
  work();
  graph = device.end_capture(stream_.queue());
}

}  // namespace quire
