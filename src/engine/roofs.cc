#include "engine/roofs.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>
#include <random>

#include "engine/device_choice.h"
#include "engine/local_engine.h"
#include "engine/model_path.h"
#include "kernels/element.h"
#include "models/config.h"

namespace quire {
namespace {

constexpr int64_t kGpuCopyBytes = int64_t{512} << 20;  // far beyond any cache
constexpr int64_t kCpuReadBytes = int64_t{1} << 30;
constexpr int64_t kGpuProductSize = 8192;
constexpr int64_t kCpuProductSize = 4096;
// On the CPU rows grow eightfold up to this while a product takes less than kLongProduct: the
// scalar reference needs seconds for what others do in milliseconds.
constexpr int64_t kMaxCpuRows = 512;
constexpr double kLongProduct = 0.02;

// The shortest of three times that `work`, done `repetitions` times, takes for one.
double best_seconds(Stream& stream, int repetitions, const std::function<void()>& work) {
  constexpr int kRounds = 3;
  double best = 0.0;
  for (int i = 0; i < kRounds; ++i) {
    stream.synchronize();
    const auto begin = std::chrono::steady_clock::now();
    for (int j = 0; j < repetitions; ++j) work();
    stream.synchronize();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - begin;
    best = i == 0 ? elapsed.count() : std::min(best, elapsed.count());
  }
  return best / repetitions;
}

// Reads the buffer once; the result keeps the reads alive.
uint64_t read_all(ThreadPool& pool, const Buffer& buffer) {
  constexpr int64_t kWordsPerLine = 8;
  std::atomic<uint64_t> total{0};
  const int64_t num_lines = buffer.num_bytes() / (kWordsPerLine * int64_t{sizeof(uint64_t)});
  pool.parallel_for(num_lines, 1, [&](int64_t begin, int64_t end) {
    const auto* line = reinterpret_cast<const uint64_t*>(buffer.data()) + begin * kWordsPerLine;
    uint64_t sums[kWordsPerLine] = {};
    for (int64_t i = begin; i < end; ++i, line += kWordsPerLine) {
      __builtin_prefetch(line + 32 * kWordsPerLine);
      for (int64_t j = 0; j < kWordsPerLine; ++j) sums[j] ^= line[j];
    }
    uint64_t sum = 0;
    for (const uint64_t word : sums) sum ^= word;
    total.fetch_xor(sum, std::memory_order_relaxed);
  });
  return total.load();
}

void measure_bytes(Stream& stream, Roofs& roofs) {
  const Device& device = stream.device();
  if (device.is_host()) {
    const Buffer buffer(kCpuReadBytes);
    // Pages exist, and are their own, once they have been written.
    stream.pool().parallel_for(buffer.num_bytes(), 4096, [&](int64_t begin, int64_t end) {
      std::memset(buffer.data() + begin, 1, static_cast<size_t>(end - begin));
    });
    const double seconds = best_seconds(stream, 1, [&] { read_all(stream.pool(), buffer); });
    roofs.bytes_per_second = static_cast<double>(kCpuReadBytes) / seconds;
    roofs.bytes_method = "reads of 1 GiB";
    return;
  }
  const Buffer from(kGpuCopyBytes, device);
  const Buffer to(kGpuCopyBytes, device);
  const double seconds =
      best_seconds(stream, 20, [&] { stream.copy(to.data(), from.data(), kGpuCopyBytes); });
  roofs.bytes_per_second = 2.0 * static_cast<double>(kGpuCopyBytes) / seconds;
  roofs.bytes_method = "copies of 512 MiB";
}

// Random numbers, not zeros, which take less power and so run faster: a block of them, repeated
// with a period that no power of two divides.
Tensor random_matrix(int64_t rows, int64_t columns, DType dtype) {
  constexpr int64_t kPeriod = 100003;
  Tensor matrix({rows, columns}, dtype);
  auto* data = matrix.view().as<std::byte>();
  std::minstd_rand random;
  const int64_t period = std::min(kPeriod, rows * columns);
  for (int64_t i = 0; i < period; ++i) {
    store_element(dtype, data, i, static_cast<float>(random() % 2001) * 1e-3F - 1.0F);
  }
  const int64_t period_bytes = period * size_of(dtype);
  for (int64_t at = period_bytes; at < matrix.num_bytes(); at += period_bytes) {
    std::memcpy(data + at, data,
                static_cast<size_t>(std::min(period_bytes, matrix.num_bytes() - at)));
  }
  return matrix;
}

void measure_flops(const KernelTable& kernels, Stream& stream, DType dtype, Roofs& roofs) {
  const bool on_gpu = !stream.device().is_host();
  const int64_t size = on_gpu ? kGpuProductSize : kCpuProductSize;
  const int64_t max_rows = on_gpu ? kGpuProductSize : kMaxCpuRows;
  const DType activation_dtype = kernels.activations_have_weight_dtype ? dtype : DType::kF32;
  const Tensor host_weight = random_matrix(size, size, dtype);
  const PackedWeight weight = kernels.pack_weight(stream, {.weight = host_weight.view()});
  const Tensor host_x = random_matrix(max_rows, size, activation_dtype);
  const Tensor x({max_rows, size}, activation_dtype, stream.device());
  const Tensor out({max_rows, size}, activation_dtype, stream.device());
  stream.copy(x.view().data, host_x.view().data, host_x.num_bytes());
  int64_t rows = on_gpu ? max_rows : 8;
  for (double seconds = 0.0; rows <= max_rows && seconds < kLongProduct; rows *= 8) {
    const GemmArgs product{.x = x.view().rows_view(0, rows),
                           .weight = &weight,
                           .bias = {},
                           .out = out.view().rows_view(0, rows)};
    kernels.gemm(stream, product);  // the first may choose an algorithm
    seconds = best_seconds(stream, on_gpu ? 10 : 1, [&] { kernels.gemm(stream, product); });
    const double flops = 2.0 * static_cast<double>(rows * size) * static_cast<double>(size);
    if (flops / seconds < roofs.flops_per_second) continue;
    roofs.flops_per_second = flops / seconds;
    roofs.flops_method = std::string(to_string(dtype)) + " products " + std::to_string(rows) +
                         " x " + std::to_string(size) + " x " + std::to_string(size);
  }
}

}  // namespace

Roofs measure_roofs(const EngineConfig& config) {
  const ModelConfig model = load_model_config(resolve_model_path(config.model));
  const DType dtype = dtype_from_string(config.dtype == "auto" ? model.torch_dtype : config.dtype)
                          .value_or(DType::kBF16);
  const KernelTable& kernels = choose_kernels(config);
  EngineDevice device(thread_pool_options(config, *kernels.device), *kernels.device);
  Roofs roofs;
  measure_bytes(device.stream, roofs);
  measure_flops(kernels, device.stream, dtype, roofs);
  return roofs;
}

}  // namespace quire
