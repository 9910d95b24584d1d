// Kernels against the roofs of this machine, one JSON line per measurement.
//   kernel_bench [--filter TEXT] [--threads N] [--repetitions N] [--isa NAME]
// Every kernel run is followed by a run of its roof, so that both see the same disturbances;
// `fraction` compares the medians and `best_fraction` the best of each.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/kernel_table.h"
#include "roofs.h"
#include "tensor/float16.h"

namespace quire::bench {
namespace {

struct Flags {
  std::string filter;
  std::string isa;
  int threads = 0;
  int repetitions = 15;
};

struct Roof {
  const char* unit = "GB/s";             // or GFLOP/s, or us (then lower is better)
  std::function<double()> work_per_run;  // runs the roof; returns bytes or flops
};

struct Measurement {
  std::string name;
  double work = 0;  // bytes or flops of one run
  std::function<void()> run;
};

double seconds_of(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double cpu_seconds_of(const std::function<void()>& run) {
  const auto now = [] {
    timespec time{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  };
  const double start = now();
  run();
  return now() - start;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  explicit Bench(const Flags& flags)
      : flags_(flags),
        pool_({.num_threads = flags.threads}),
        stream_(pool_),
        stream_buffer_(int64_t{256} << 20) {
    std::fill_n(stream_buffer_.data(), stream_buffer_.num_bytes(), std::byte{1});
  }

  Stream& stream() { return stream_; }
  const Flags& flags() const { return flags_; }
  bool wants(const std::string& name) const {
    return name.find(flags_.filter) != std::string::npos;
  }

  Roof read_roof() {
    return {.unit = "GB/s", .work_per_run = [this] {
              sink_ ^= read_all(pool_, stream_buffer_);
              return static_cast<double>(stream_buffer_.num_bytes());
            }};
  }
  // The multiply-add peak that the table's GEMM of `dtype` can use, sustained over `flops`.
  Roof compute_roof(const KernelTable& table, DType dtype, double flops) {
    const std::string_view isa = table.name;
    auto* peak = isa == "avx2" ? multiply_add_avx2 : multiply_add_avx512;
    if (dtype == DType::kBF16 && isa == "avx512") peak = multiply_add_bf16;
    if (dtype == DType::kBF16 && isa == "amx") peak = multiply_add_amx;
    return {.unit = "GFLOP/s", .work_per_run = [this, peak, flops] { return peak(pool_, flops); }};
  }

  void measure(const Measurement& m, const Roof& roof) {
    m.run();
    std::vector<double> rates;
    std::vector<double> roofs;
    std::vector<double> cpu_rates;
    std::vector<double> cpu_roofs;
    for (int i = 0; i < flags_.repetitions; ++i) {
      cpu_rates.push_back(
          m.work / cpu_seconds_of([&] { rates.push_back(m.work / seconds_of(m.run) * 1e-9); }));
      double roof_work = 0;
      const double cpu_seconds = cpu_seconds_of([&] {
        const double seconds = seconds_of([&] { roof_work = roof.work_per_run(); });
        roofs.push_back(roof_work / seconds * 1e-9);
      });
      cpu_roofs.push_back(roof_work / cpu_seconds);
    }
    const auto [low, high] = std::minmax_element(rates.begin(), rates.end());
    const double best_roof = *std::max_element(roofs.begin(), roofs.end());
    std::printf(
        "{\"name\": \"%s\", \"threads\": %d, \"unit\": \"%s\", \"median\": %.2f, \"min\": %.2f, "
        "\"max\": %.2f, \"roof_median\": %.2f, \"roof_max\": %.2f, \"fraction\": %.3f, "
        "\"best_fraction\": %.3f, \"cpu_fraction\": %.3f, \"ms\": %.4f}\n",
        m.name.c_str(), pool_.num_threads(), roof.unit, median(rates), *low, *high, median(roofs),
        best_roof, median(rates) / median(roofs), *high / best_roof,
        median(cpu_rates) / median(cpu_roofs), m.work * 1e-6 / median(rates));
    std::fflush(stdout);
  }

  // Time of one call, without a roof.
  void measure_time(const std::string& name, int calls, const std::function<void()>& run) {
    run();
    std::vector<double> times;
    for (int i = 0; i < flags_.repetitions; ++i) {
      const double seconds = seconds_of([&] {
        for (int call = 0; call < calls; ++call) run();
      });
      times.push_back(seconds * 1e6 / calls);
    }
    const auto [low, high] = std::minmax_element(times.begin(), times.end());
    std::printf(
        "{\"name\": \"%s\", \"threads\": %d, \"unit\": \"us\", \"median\": %.3f, \"min\": %.3f, "
        "\"max\": %.3f}\n",
        name.c_str(), pool_.num_threads(), median(times), *low, *high);
    std::fflush(stdout);
  }

 private:
  Flags flags_;
  ThreadPool pool_;
  Stream stream_;
  Buffer stream_buffer_;
  uint64_t sink_ = 0;
};

Tensor random_tensor(int64_t rows, int64_t columns, DType dtype) {
  Tensor result({rows, columns}, dtype);
  std::minstd_rand engine(1);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  for (int64_t i = 0; i < rows * columns; ++i) {
    const float value = uniform(engine);
    if (dtype == DType::kF32) result.view().as<float>()[i] = value;
    if (dtype == DType::kF16) result.view().as<uint16_t>()[i] = float_to_f16(value);
    if (dtype == DType::kBF16) result.view().as<uint16_t>()[i] = float_to_bf16(value);
  }
  return result;
}

Tensor int_tensor(const std::vector<int32_t>& values) {
  Tensor result({static_cast<int64_t>(values.size())}, DType::kI32);
  std::copy(values.begin(), values.end(), result.view().as<int32_t>());
  return result;
}

void bench_gemm(Bench& bench, const KernelTable& table) {
  struct Case {
    DType dtype;
    int64_t m, n, k;
  };
  std::vector<Case> cases = {{DType::kF32, 1, 5632, 4096},
                             {DType::kF16, 1, 11264, 4096},
                             {DType::kF32, 384, 2048, 2048},
                             {DType::kF16, 384, 2048, 2048}};
  for (int64_t m : {1, 2, 4, 8, 12, 16}) cases.push_back({DType::kBF16, m, 11264, 4096});
  for (int64_t m : {32, 96, 384, 512}) cases.push_back({DType::kBF16, m, 4096, 4096});
  for (const Case& c : cases) {
    const std::string name = std::string(table.name) + " gemm " + to_string(c.dtype) + " " +
                             std::to_string(c.m) + "x" + std::to_string(c.n) + "x" +
                             std::to_string(c.k);
    if (!bench.wants(name)) continue;
    PackedWeight packed;
    {
      const Tensor weight = random_tensor(c.n, c.k, c.dtype);
      packed = table.pack_weight(bench.stream(), {.weight = weight.view()});
    }
    const Tensor x = random_tensor(c.m, c.k, DType::kF32);
    const Tensor out({c.m, c.n}, DType::kF32);
    const auto run = [&] {
      table.gemm(bench.stream(), {.x = x.view(), .weight = &packed, .bias = {}, .out = out.view()});
    };
    const auto weight_elements = static_cast<double>(c.n * c.k);
    if (c.m <= 4) {
      const double bytes = weight_elements * static_cast<double>(size_of(c.dtype));
      bench.measure({.name = name, .work = bytes, .run = run}, bench.read_roof());
    } else {
      const double flops = 2.0 * weight_elements * static_cast<double>(c.m);
      bench.measure({.name = name, .work = flops, .run = run},
                    bench.compute_roof(table, c.dtype, flops));
    }
  }
}

struct AttentionCase {
  const char* name;
  int num_seqs, queries, context, num_heads, num_kv_heads, head_dim;
  DType dtype;
};

void bench_attention(Bench& bench, const KernelTable& table, const AttentionCase& c) {
  const std::string name = std::string(table.name) + " attention " + c.name;
  if (!bench.wants(name)) return;
  constexpr int kBlockSize = 16;
  const int blocks = (c.context + kBlockSize - 1) / kBlockSize;
  KVCacheView cache{
      .arena = nullptr,
      .block_bytes = 2 * int64_t{kBlockSize} * c.num_kv_heads * c.head_dim * size_of(c.dtype),
      .layer_offset = 0,
      .block_size = kBlockSize,
      .num_kv_heads = c.num_kv_heads,
      .head_dim = c.head_dim,
      .dtype = c.dtype};
  const Buffer arena(cache.block_bytes * blocks * c.num_seqs);
  cache.arena = arena.data();
  std::vector<int32_t> table_ids(static_cast<size_t>(blocks) * c.num_seqs);
  for (size_t i = 0; i < table_ids.size(); ++i) table_ids[i] = static_cast<int32_t>(i);
  std::shuffle(table_ids.begin(), table_ids.end(), std::minstd_rand(3));
  const Tensor ids = int_tensor(table_ids);
  const Tensor k = random_tensor(blocks * kBlockSize, c.num_kv_heads * c.head_dim, DType::kF32);
  std::vector<int32_t> starts = {0};
  for (int seq = 0; seq < c.num_seqs; ++seq) {
    std::vector<int32_t> slots;
    for (int t = 0; t < blocks * kBlockSize; ++t) {
      slots.push_back(table_ids[seq * blocks + t / kBlockSize] * kBlockSize + t % kBlockSize);
    }
    const Tensor slot_mapping = int_tensor(slots);
    table.kv_cache_write(
        bench.stream(),
        {.k = k.view(), .v = k.view(), .slot_mapping = slot_mapping.view(), .cache = cache});
    starts.push_back(starts.back() + c.queries);
  }
  const Tensor query_start_loc = int_tensor(starts);
  const Tensor seq_lens = int_tensor(std::vector<int32_t>(c.num_seqs, c.context));
  const AttentionBatch batch{
      .num_seqs = c.num_seqs,
      .query_start_loc = query_start_loc.view(),
      .seq_lens = seq_lens.view(),
      .block_table = TensorView(ids.view().data, {c.num_seqs, blocks}, DType::kI32)};
  const Tensor q = random_tensor(starts.back(), c.num_heads * c.head_dim, DType::kF32);
  const Tensor out({starts.back(), c.num_heads * c.head_dim}, DType::kF32);
  const auto run = [&] {
    table.paged_attention(bench.stream(),
                          {.q = q.view(),
                           .out = out.view(),
                           .cache = cache,
                           .batch = &batch,
                           .num_heads = c.num_heads,
                           .scale = 1.0F / std::sqrt(static_cast<float>(c.head_dim))});
  };
  if (c.queries == 1) {
    bench.measure({.name = name, .work = static_cast<double>(arena.num_bytes()), .run = run},
                  bench.read_roof());
    return;
  }
  // Causal: query i of the chunk sees context - queries + i + 1 keys; q·k and P·V.
  const double keys = (c.context - c.queries) + 0.5 * (c.queries + 1);
  const double flops = 4.0 * keys * c.queries * c.num_seqs * c.num_heads * c.head_dim;
  const DType math = c.dtype == DType::kF16 ? DType::kF32 : c.dtype;
  const KernelTable& peak = std::string_view(table.name) == "amx" ? kernels_for("avx512") : table;
  bench.measure({.name = name, .work = flops, .run = run}, bench.compute_roof(peak, math, flops));
}

void bench_small(Bench& bench, const KernelTable& table) {
  const std::string prefix = std::string(table.name) + " ";
  const Tensor weight = random_tensor(1, 4096, DType::kF32);
  const TensorView norm_weight(weight.view().data, {4096}, DType::kF32);
  for (int64_t rows : {1, 512}) {
    const std::string name = prefix + "rms_norm " + std::to_string(rows) + "x4096";
    if (!bench.wants(name)) continue;
    const Tensor x = random_tensor(rows, 4096, DType::kF32);
    bench.measure_time(name, 20, [&] {
      table.rms_norm(bench.stream(), {.x = x.view(), .weight = norm_weight, .out = x.view()});
    });
  }
  for (int64_t rows : {1, 512}) {
    const std::string name = prefix + "gated_silu " + std::to_string(rows) + "x11008";
    if (!bench.wants(name)) continue;
    const Tensor x = random_tensor(rows, 2 * 11008, DType::kF32);
    const Tensor out({rows, 11008}, DType::kF32);
    bench.measure_time(name, 3, [&] {
      table.gated_activation(bench.stream(), {.x = x.view(), .out = out.view()});
    });
  }
  constexpr int64_t kVocab = 128256;
  const Tensor logits = random_tensor(1, kVocab, DType::kF32);
  for (const auto& [label, temperature, k, p] :
       std::vector<std::tuple<const char*, float, int32_t, float>>{{"greedy", 0.0F, 0, 1.0F},
                                                                   {"temperature", 1.0F, 0, 1.0F},
                                                                   {"top_k+top_p", 1.0F, 50, 0.9F},
                                                                   {"top_p", 1.0F, 0, 0.9F}}) {
    const std::string name = prefix + "sample 1x128256 " + label;
    if (!bench.wants(name)) continue;
    Tensor temperatures({1}, DType::kF32);
    temperatures.view().as<float>()[0] = temperature;
    Tensor top_p({1}, DType::kF32);
    top_p.view().as<float>()[0] = p;
    const Tensor min_p({1}, DType::kF32);
    const Tensor top_k = int_tensor({k});
    const Tensor out({1}, DType::kI32);
    const uint64_t seed = 1;
    bench.measure_time(name, 3, [&] {
      table.sample(bench.stream(), {.logits = logits.view(),
                                    .temperature = temperatures.view(),
                                    .top_k = top_k.view(),
                                    .top_p = top_p.view(),
                                    .min_p = min_p.view(),
                                    .seeds = &seed,
                                    .positions = &seed,
                                    .out = out.view()});
    });
  }
}

void run_all(const Flags& flags) {
  Bench bench(flags);
  if (bench.wants("fork_join")) {
    bench.measure_time("fork_join", 1000, [&] { bench.stream().pool().run([](int) {}); });
  }
  const AttentionCase attention_cases[] = {
      {"prefill 2048 bf16 32/8x128", 1, 2048, 2048, 32, 8, 128, DType::kBF16},
      {"prefill 512 bf16 32/4x64", 1, 512, 512, 32, 4, 64, DType::kBF16},
      {"prefill 1024 f32 16/4x128", 1, 1024, 1024, 16, 4, 128, DType::kF32},
      {"decode 4x8192 bf16 32/8x128", 4, 1, 8192, 32, 8, 128, DType::kBF16},
      {"decode 8x8192 bf16 32/4x64", 8, 1, 8192, 32, 4, 64, DType::kBF16},
      {"decode 4x8192 f16 32/8x128", 4, 1, 8192, 32, 8, 128, DType::kF16},
  };
  for (const KernelTable* table : all_tables()) {
    if (table == all_tables().front()) continue;  // the reference is not meant to be fast
    if (!flags.isa.empty() && flags.isa != table->name) continue;
    bench_gemm(bench, *table);
    for (const AttentionCase& c : attention_cases) bench_attention(bench, *table, c);
    bench_small(bench, *table);
  }
}

}  // namespace
}  // namespace quire::bench

int main(int argc, char** argv) {
  quire::bench::Flags flags;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view flag = argv[i];
    if (flag == "--filter") flags.filter = argv[i + 1];
    if (flag == "--isa") flags.isa = argv[i + 1];
    if (flag == "--threads") flags.threads = std::atoi(argv[i + 1]);
    if (flag == "--repetitions") flags.repetitions = std::atoi(argv[i + 1]);
  }
  quire::bench::run_all(flags);
  return 0;
}
