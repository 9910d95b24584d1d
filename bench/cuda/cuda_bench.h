// Kernels of the CUDA table against the roofs of the GPU, one JSON line per measurement.
#pragma once

#include <functional>
#include <string>

#include "kernels/kernel_table.h"

namespace quire::bench {

struct CudaBenchFlags {
  std::string filter;
  int repetitions = 20;
};

class CudaBench {
 public:
  explicit CudaBench(CudaBenchFlags flags);

  const KernelTable& table() const { return table_; }
  Stream& stream() { return stream_; }
  // Whether to run the measurements whose names begin with `name`.
  bool wants(const std::string& name) const;

  // Device memory of random normal numbers.
  Tensor random(Shape shape, DType dtype, float deviation = 1.0F);
  Tensor upload(const TensorView& host);

  // Times run(i), i = 0, 1, ..., captured in graphs of `per_graph` calls, so that launches cost what
  // they cost in a decode step; i lets it rotate over buffers larger than the L2 cache.  Prints the
  // median and spread of a call in microseconds, and `work` per second as a fraction of the roof:
  // bytes of the device's copy bandwidth, or operations of its bf16 matrix product.
  enum class Roof { kNone, kBytes, kFlops };
  void measure(const std::string& name, Roof roof, double work, int per_graph,
               const std::function<void(int)>& run);

 private:
  CudaBenchFlags flags_;
  const KernelTable& table_;
  ThreadPool pool_;
  Stream stream_;
};

// One per file bench_*.cc.
void bench_gemm(CudaBench& bench);
void bench_attention(CudaBench& bench);
void bench_elementwise(CudaBench& bench);
void bench_sampling(CudaBench& bench);

}  // namespace quire::bench
