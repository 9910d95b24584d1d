// Norms, rope with the KV write, and activations in the shapes of an 8B model: one token, a decode
// batch, and a prefill step.
#include "cuda_bench.h"

namespace quire::bench {
namespace {

constexpr int64_t kTokenCounts[] = {1, 64, 8192};
constexpr DType kActivations = DType::kBF16;

// Calls per graph: many of the short ones.
int per_graph(int64_t tokens) { return tokens > 1000 ? 5 : 50; }

// What is smaller than the L2 cache is in it, as it is after the kernel before.
void bench_norm(CudaBench& bench, int64_t tokens) {
  constexpr int64_t kHidden = 4096;
  const std::string name = "rms_norm f32 to bf16 " + std::to_string(tokens) + " x 4096";
  if (!bench.wants(name)) return;
  const Tensor x = bench.random({tokens, kHidden}, DType::kF32);
  const Tensor weight = bench.random({kHidden}, DType::kF32);
  const Tensor out = bench.random({tokens, kHidden}, kActivations);
  const double num_bytes = static_cast<double>(tokens) * kHidden * (4 + 2);
  bench.measure(name, CudaBench::Roof::kBytes, num_bytes, per_graph(tokens), [&](int) {
    bench.table().rms_norm(bench.stream(),
                           {.x = x.view(), .weight = weight.view(), .out = out.view()});
  });
}

void bench_gated_activation(CudaBench& bench, int64_t tokens) {
  constexpr int64_t kSize = 14336;
  const std::string name = "gated_activation bf16 " + std::to_string(tokens) + " x 14336";
  if (!bench.wants(name)) return;
  const Tensor x = bench.random({tokens, 2 * kSize}, kActivations);
  const Tensor out = bench.random({tokens, kSize}, kActivations);
  const double num_bytes = static_cast<double>(tokens) * kSize * 3 * 2;
  bench.measure(name, CudaBench::Roof::kBytes, num_bytes, per_graph(tokens), [&](int) {
    bench.table().gated_activation(bench.stream(), {.x = x.view(), .out = out.view()});
  });
}

// With the norms of q and k or without.
void bench_rope_kv_write(CudaBench& bench, int64_t tokens, bool has_norm) {
  constexpr int kHeads = 32;
  constexpr int kKVHeads = 8;
  constexpr int kHeadDim = 128;
  constexpr int kBlockSize = 16;
  const std::string name = std::string(has_norm ? "norm_" : "") + "rope_kv_write bf16 32/8x128 " +
                           std::to_string(tokens) + " tokens";
  if (!bench.wants(name)) return;
  const int64_t q_width = kHeads * kHeadDim;
  const int64_t kv_width = kKVHeads * kHeadDim;
  const Tensor qkv = bench.random({tokens, q_width + 2 * kv_width}, kActivations);
  const Tensor cos_sin = bench.random({tokens, kHeadDim}, DType::kF32);
  const Tensor weight = bench.random({kHeadDim}, DType::kF32);
  Tensor numbers({tokens}, DType::kI32);
  for (int64_t i = 0; i < tokens; ++i) {
    numbers.view().as<int32_t>()[i] = static_cast<int32_t>(i);
  }
  const Tensor positions = bench.upload(numbers.view());
  const int64_t num_blocks = (tokens + kBlockSize - 1) / kBlockSize;
  const int64_t block_elements = 2 * kBlockSize * kv_width;
  const Tensor arena = bench.random({num_blocks, block_elements}, kActivations);
  const TensorView norm_weight = has_norm ? weight.view() : TensorView();
  const QkNormRopeKVWriteArgs args{
      .rope = {.positions = positions.view(),
               .cos_sin = cos_sin.view(),
               .x = qkv.view().columns_view(0, q_width),
               .head_dim = kHeadDim,
               .rotary_dim = kHeadDim},
      .q_norm_weight = norm_weight,
      .k_norm_weight = norm_weight,
      .norm_eps = 1e-6F,
      .write = {.k = qkv.view().columns_view(q_width, kv_width),
                .v = qkv.view().columns_view(q_width + kv_width, kv_width),
                .slot_mapping = positions.view(),
                .cache = {.arena = static_cast<std::byte*>(arena.view().data),
                          .block_bytes = block_elements * 2,
                          .block_size = kBlockSize,
                          .num_kv_heads = kKVHeads,
                          .head_dim = kHeadDim,
                          .dtype = kActivations}}};
  const double num_bytes = static_cast<double>(tokens * (q_width + 2 * kv_width)) * 2 * 2;
  bench.measure(name, CudaBench::Roof::kBytes, num_bytes, per_graph(tokens),
                [&](int) { bench.table().qk_norm_rope_kv_write(bench.stream(), args); });
}

void bench_embedding(CudaBench& bench, int64_t tokens) {
  constexpr int64_t kHidden = 4096;
  constexpr int64_t kVocab = 32000;
  const std::string name = "embedding bf16 " + std::to_string(tokens) + " x 4096";
  if (!bench.wants(name)) return;
  const Tensor table = bench.random({kVocab, kHidden}, kActivations);
  Tensor numbers({tokens}, DType::kI32);
  for (int64_t i = 0; i < tokens; ++i) {
    numbers.view().as<int32_t>()[i] = static_cast<int32_t>(i * 7919 % kVocab);
  }
  const Tensor ids = bench.upload(numbers.view());
  const Tensor out({tokens, kHidden}, DType::kF32, *bench.table().device);
  const double num_bytes = static_cast<double>(tokens) * kHidden * (2 + 4);
  bench.measure(name, CudaBench::Roof::kBytes, num_bytes, per_graph(tokens), [&](int) {
    bench.table().embedding(bench.stream(),
                            {.ids = ids.view(), .table = table.view(), .out = out.view()});
  });
}

}  // namespace

void bench_elementwise(CudaBench& bench) {
  for (const int64_t tokens : kTokenCounts) {
    bench_norm(bench, tokens);
    bench_rope_kv_write(bench, tokens, false);
    bench_rope_kv_write(bench, tokens, true);
    bench_gated_activation(bench, tokens);
    bench_embedding(bench, tokens);
  }
}

}  // namespace quire::bench
