// Matrix products of Llama 3.1 8B, in bf16.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "cuda_bench.h"
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/element.h"

namespace quire::bench {
namespace {

struct Weight {
  int64_t n = 0;
  int64_t k = 0;
  bool residual = false;  // adds to an f32 out; else out is bf16
  int64_t max_rows = 0;
};

constexpr int64_t kElementBytes = 2;

// Random numbers repeated with a period that no power of two divides.
Tensor random_weight(const Weight& weight) {
  constexpr int64_t kPeriod = 1000003;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0.0F, 0.02F);
  Tensor result({weight.n, weight.k}, DType::kBF16);
  const int64_t size = weight.n * weight.k;
  auto* data = result.view().as<uint16_t>();
  for (int64_t i = 0; i < std::min(size, kPeriod); ++i) {
    store_element(DType::kBF16, data, i, normal(generator));
  }
  for (int64_t i = kPeriod; i < size; i += kPeriod) {
    std::memcpy(data + i, data, static_cast<size_t>(std::min(kPeriod, size - i) * kElementBytes));
  }
  return result;
}

// Enough copies that none is in the L2 cache when its turn comes.
std::vector<PackedWeight> pack_copies(CudaBench& bench, const Weight& weight,
                                      const std::string& name) {
  constexpr int64_t kRotatedBytes = 400 << 20;
  const int64_t num_bytes = weight.n * weight.k * kElementBytes;
  const Tensor host = random_weight(weight);
  std::vector<PackedWeight> copies;
  const auto begin = std::chrono::steady_clock::now();
  do {
    copies.push_back(bench.table().pack_weight(bench.stream(), {.weight = host.view()}));
  } while (static_cast<int64_t>(copies.size()) * num_bytes < kRotatedBytes);
  bench.stream().synchronize();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  std::printf("{\"name\": \"pack_weight %s\", \"GB/s\": %.1f}\n", name.c_str(),
              static_cast<double>(num_bytes) * static_cast<double>(copies.size()) / seconds * 1e-9);
  return copies;
}

void bench_rows(CudaBench& bench, const Weight& weight, const std::vector<PackedWeight>& copies,
                int64_t m, const std::string& name) {
  constexpr int64_t kFewRows = 64;  // to be compared with the library
  constexpr int64_t kMemoryBoundRows = 128;
  constexpr int64_t kLargeRows = 1024;
  const DType out_dtype = weight.residual ? DType::kF32 : DType::kBF16;
  const Tensor x = bench.random({m, weight.k}, DType::kBF16);
  const Tensor out({m, weight.n}, out_dtype, *bench.table().device);
  const auto args_of = [&](int i) {
    return GemmArgs{.x = x.view(),
                    .weight = &copies[static_cast<size_t>(i) % copies.size()],
                    .bias = {},
                    .out = out.view(),
                    .accumulate = weight.residual};
  };
  const int per_graph = m >= kLargeRows ? 2 : std::max(static_cast<int>(copies.size()), 8);
  const bool memory_bound = m <= kMemoryBoundRows;
  const int64_t num_bytes = (weight.n + m) * weight.k * kElementBytes +
                            m * weight.n * size_of(out_dtype) * (weight.residual ? 2 : 1);
  const auto roof = memory_bound ? CudaBench::Roof::kBytes : CudaBench::Roof::kFlops;
  const auto work = static_cast<double>(memory_bound ? num_bytes : 2 * m * weight.n * weight.k);
  bench.measure(name, roof, work, per_graph,
                [&](int i) { bench.table().gemm(bench.stream(), args_of(i)); });
  if (m > kFewRows) return;
  if (gemm_few_rows(bench.stream(), args_of(0))) {
    bench.measure(name + " few_rows", roof, work, per_graph,
                  [&](int i) { (void)gemm_few_rows(bench.stream(), args_of(i)); });
  }
  if (cublaslt() != nullptr && cublaslt()->multiply(bench.stream(), args_of(0))) {
    bench.measure(name + " cublaslt", roof, work, per_graph,
                  [&](int i) { (void)cublaslt()->multiply(bench.stream(), args_of(i)); });
  }
}

}  // namespace

void bench_gemm(CudaBench& bench) {
  constexpr std::array<int64_t, 11> kRows{1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 8192};
  for (const Weight& weight : {Weight{.n = 6144, .k = 4096, .max_rows = 8192},
                               Weight{.n = 4096, .k = 4096, .residual = true, .max_rows = 8192},
                               Weight{.n = 28672, .k = 4096, .max_rows = 8192},
                               Weight{.n = 4096, .k = 14336, .residual = true, .max_rows = 8192},
                               Weight{.n = 128256, .k = 4096, .max_rows = 256}}) {
    const std::string name =
        "gemm " + std::to_string(weight.n) + "x" + std::to_string(weight.k) + " bf16";
    const auto wanted = [&](int64_t m) {
      const std::string with_rows = name + " M=" + std::to_string(m);
      return m <= weight.max_rows &&
             (bench.wants(with_rows + " cublaslt") || bench.wants(with_rows + " few_rows"));
    };
    if (std::none_of(kRows.begin(), kRows.end(), wanted)) continue;
    const std::vector<PackedWeight> copies = pack_copies(bench, weight, name);
    for (int64_t m : kRows) {
      if (wanted(m)) bench_rows(bench, weight, copies, m, name + " M=" + std::to_string(m));
    }
  }
}

}  // namespace quire::bench
