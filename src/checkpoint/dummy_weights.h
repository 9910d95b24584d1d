// Random weights of whatever shape is asked for (--load-format dummy): for benchmarks, without a
// checkpoint.
#pragma once

#include <map>
#include <string>

#include "base/thread_pool.h"
#include "checkpoint/weight_source.h"

namespace quire {

class DummyWeights : public WeightSource {
 public:
  struct Options {
    DType dtype = DType::kBF16;
    uint64_t seed = 0;
  };
  // Fills with the threads of `pool`, which must outlive this.
  DummyWeights(ThreadPool& pool, const Options& options) : pool_(pool), options_(options) {}

  bool contains(const std::string&) const override { return true; }
  // Matrices are uniform with variance 1 / (last dimension), vectors named "bias" within 0.02 of 0,
  // and other vectors, the weights of norms, within 0.1 of 1: hidden states and logits stay finite.
  // A name and a seed determine the values.
  TensorView take(const std::string& name, const Shape& shape) override;
  void release(const TensorView& view) override { tensors_.erase(view.data); }
  void check_all_taken(std::span<const std::string_view>) const override {}

 private:
  ThreadPool& pool_;
  Options options_;
  std::map<const void*, Tensor> tensors_;
};

}  // namespace quire
