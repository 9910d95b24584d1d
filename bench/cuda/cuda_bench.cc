#include "cuda_bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/element.h"

namespace quire::bench {
namespace {

// Practical roofs of an H200 (docs/design/0006-cuda-backend.md); other GPUs read them as units.
constexpr double kBytesPerSecond = 4.3e12;
constexpr double kFlopsPerSecond = 790e12;

const KernelTable& require_table() {
  if (cuda_table() != nullptr) return *cuda_table();
  std::fprintf(stderr, "cuda_bench: no NVIDIA GPU\n");
  std::exit(1);
}

double now_us() {
  return std::chrono::duration<double, std::micro>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

CudaBench::CudaBench(CudaBenchFlags flags)
    : flags_(std::move(flags)),
      table_(require_table()),
      pool_({.num_threads = 8}),
      stream_(pool_, *table_.device) {}

bool CudaBench::wants(const std::string& name) const {
  return name.find(flags_.filter) != std::string::npos;
}

Tensor CudaBench::random(Shape shape, DType dtype, float deviation) {
  Tensor host(shape, dtype);
  // A block of random numbers repeated with a period that no power of two divides.
  constexpr int64_t kPeriod = 1000003;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> block(kPeriod);
  for (float& value : block) value = normal(generator);
  pool_.parallel_for(shape.num_elements(), 4096, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      store_element(dtype, host.view().data, i, block[static_cast<size_t>(i % kPeriod)]);
    }
  });
  return upload(host.view());
}

Tensor CudaBench::upload(const TensorView& host) {
  Tensor result(host.shape, host.dtype, *table_.device);
  stream_.copy(result.view().data, host.data, host.shape.num_elements() * size_of(host.dtype));
  stream_.synchronize();
  return result;
}

void CudaBench::measure(const std::string& name, Roof roof, double work, int per_graph,
                        const std::function<void(int)>& run) {
  if (!wants(name)) return;
  const Device& device = *table_.device;
  for (int i = 0; i < per_graph; ++i) run(i);  // allocations, module loading, tuning
  stream_.synchronize();
  device.begin_capture(stream_.queue());
  for (int i = 0; i < per_graph; ++i) run(i);
  void* graph = device.end_capture(stream_.queue());
  // Several graphs in a row hide the launch of all but the first.
  constexpr int kGraphs = 5;
  std::vector<double> times;
  for (int i = -2; i < flags_.repetitions; ++i) {
    stream_.synchronize();
    const double begin = now_us();
    for (int j = 0; j < kGraphs; ++j) device.launch_graph(stream_.queue(), graph);
    stream_.synchronize();
    if (i >= 0) times.push_back((now_us() - begin) / (kGraphs * per_graph));
  }
  device.destroy_graph(graph);
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  std::printf("{\"name\": \"%s\", \"us\": %.3f, \"min_us\": %.3f, \"max_us\": %.3f", name.c_str(),
              median, times.front(), times.back());
  if (roof == Roof::kBytes) {
    std::printf(", \"GB/s\": %.1f, \"fraction\": %.3f", work / median * 1e-3,
                work / median * 1e6 / kBytesPerSecond);
  } else if (roof == Roof::kFlops) {
    std::printf(", \"TFLOP/s\": %.1f, \"fraction\": %.3f", work / median * 1e-6,
                work / median * 1e6 / kFlopsPerSecond);
  }
  std::printf("}\n");
  std::fflush(stdout);
}

}  // namespace quire::bench

int main(int argc, char** argv) {
  quire::bench::CudaBenchFlags flags;
  if (argc > 1) flags.filter = argv[1];
  if (argc > 2) flags.repetitions = std::atoi(argv[2]);
  quire::bench::CudaBench bench(flags);
  quire::bench::bench_gemm(bench);
  quire::bench::bench_attention(bench);
  quire::bench::bench_elementwise(bench);
  quire::bench::bench_sampling(bench);
}
