#include "roofs.h"

#include <immintrin.h>

#include <atomic>
#include <cstring>

namespace quire::bench {
namespace {

constexpr int kChains = 24;  // enough to hide the latency on two ports

__attribute__((target("avx512f,avx512bf16"))) float bf16_rounds(int64_t iterations) {
  __m512 sums[kChains] = {};
  const auto one = reinterpret_cast<__m512bh>(_mm512_set1_epi32(0x3f803f80));
  for (int64_t i = 0; i < iterations; ++i) {
#pragma unroll
    for (int j = 0; j < kChains; ++j) sums[j] = _mm512_dpbf16_ps(sums[j], one, one);
  }
  float total = 0.0F;
  for (const __m512& sum : sums) total += _mm512_reduce_add_ps(sum);
  return total;
}

__attribute__((target("avx512f"))) float avx512_rounds(int64_t iterations) {
  __m512 sums[kChains] = {};
  const __m512 one = _mm512_set1_ps(1.0F);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma unroll
    for (int j = 0; j < kChains; ++j) sums[j] = _mm512_fmadd_ps(one, one, sums[j]);
  }
  float total = 0.0F;
  for (const __m512& sum : sums) total += _mm512_reduce_add_ps(sum);
  return total;
}

constexpr int kAvx2Chains = 12;

__attribute__((target("avx2,fma"))) float avx2_rounds(int64_t iterations) {
  __m256 sums[kAvx2Chains] = {};
  const __m256 one = _mm256_set1_ps(1.0F);
  for (int64_t i = 0; i < iterations; ++i) {
#pragma unroll
    for (int j = 0; j < kAvx2Chains; ++j) sums[j] = _mm256_fmadd_ps(one, one, sums[j]);
  }
  float lanes[8] = {};
  float total = 0.0F;
  for (const __m256& sum : sums) {
    _mm256_storeu_ps(lanes, sum);
    for (float lane : lanes) total += lane;
  }
  return total;
}

// Operands come from L1 with every round, as in any product of larger matrices: four tiles hold
// the sums, and the other four must be replaced.
__attribute__((target("amx-tile,amx-bf16"))) void amx_rounds(int64_t iterations) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } config;
  constexpr int kTileElements = 512;
  alignas(64) uint16_t operands[4][kTileElements];
  // Not zeros, which take less power and so run faster: odd values between 1 and 2.
  for (int i = 0; i < 4 * kTileElements; ++i) {
    operands[i / kTileElements][i % kTileElements] = static_cast<uint16_t>(0x3f80 + i * 89 % 128);
  }
  _tile_loadconfig(&config);
  for (int64_t i = 0; i < iterations; ++i) {
    _tile_loadd(4, operands[0], 64);
    _tile_loadd(6, operands[1], 64);
    _tile_loadd(7, operands[2], 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, operands[3], 64);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

// Splits `flops` over the threads in whole rounds; returns the operations done.
template <typename Rounds>
double on_all_threads(ThreadPool& pool, double flops, int64_t flops_per_round,
                      const Rounds& rounds) {
  const auto total_per_round = static_cast<double>(flops_per_round * pool.num_threads());
  const int64_t iterations = static_cast<int64_t>(flops / total_per_round) + 1;
  std::atomic<int> sink{0};
  pool.run(
      [&](int) { sink.fetch_add(rounds(iterations) > 0.0F ? 1 : 0, std::memory_order_relaxed); });
  return total_per_round * static_cast<double>(iterations);
}

}  // namespace

uint64_t read_all(ThreadPool& pool, const Buffer& buffer) {
  constexpr int64_t kLine = 64;
  constexpr int kWords = 8;
  std::atomic<uint64_t> total{0};
  pool.parallel_for(buffer.num_bytes() / kLine, 1, [&](int64_t begin, int64_t end) {
    const auto* line = reinterpret_cast<const uint64_t*>(buffer.data()) + begin * kWords;
    uint64_t sums[kWords] = {};
    for (int64_t i = begin; i < end; ++i, line += kWords) {
      __builtin_prefetch(line + 32 * kWords);
      for (int j = 0; j < kWords; ++j) sums[j] ^= line[j];
    }
    uint64_t sum = 0;
    for (uint64_t word : sums) sum ^= word;
    total.fetch_xor(sum, std::memory_order_relaxed);
  });
  return total.load();
}

double multiply_add_bf16(ThreadPool& pool, double flops) {
  return on_all_threads(pool, flops, 64 * kChains, bf16_rounds);
}
double multiply_add_avx512(ThreadPool& pool, double flops) {
  return on_all_threads(pool, flops, 32 * kChains, avx512_rounds);
}
double multiply_add_avx2(ThreadPool& pool, double flops) {
  return on_all_threads(pool, flops, 16 * kAvx2Chains, avx2_rounds);
}
double multiply_add_amx(ThreadPool& pool, double flops) {
  constexpr int64_t kFlopsPerTile = 2 * 16 * 16 * 32;
  return on_all_threads(pool, flops, 4 * kFlopsPerTile, [](int64_t iterations) {
    amx_rounds(iterations);
    return 1.0F;
  });
}

}  // namespace quire::bench
