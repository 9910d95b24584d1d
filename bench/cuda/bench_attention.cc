// Paged attention of Llama-3-8B's shape: 32 query heads, 8 KV heads of 128.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "cuda_bench.h"

namespace quire::bench {
namespace {

constexpr int kHeads = 32;
constexpr int kKVHeads = 8;
constexpr int kBlockSize = 16;
constexpr int64_t kL2Bytes = int64_t{60} << 20;

struct Shape {
  int num_seqs, num_queries, length;  // each sequence's
  int head_dim = 128;
  float softcap = 0.0F;
  int sliding_window = 0;
  bool ragged = false;  // lengths from next to nothing to twice `length`
};

int64_t kv_bytes(const Shape& shape) {
  return int64_t{2} * shape.num_seqs * shape.length * kKVHeads * shape.head_dim *
         size_of(DType::kBF16);
}

// The same step over caches that do not fit in the L2 cache together.
class AttentionStep {
 public:
  AttentionStep(CudaBench& bench, const Shape& shape)
      : bench_(bench),
        shape_(shape),
        blocks_per_seq_(((shape.ragged ? 2 : 1) * shape.length + kBlockSize - 1) / kBlockSize),
        num_caches_(static_cast<int>(2 * kL2Bytes / kv_bytes(shape)) + 1) {
    const int num_tokens = shape.num_seqs * shape.num_queries;
    q_ = bench.random({num_tokens, kHeads * shape.head_dim}, DType::kBF16);
    out_ = bench.random({num_tokens, kHeads * shape.head_dim}, DType::kBF16);
    for (int i = 0; i < num_caches_; ++i) {
      caches_.push_back(
          bench.random({num_blocks() * kBlockSize, 2 * kKVHeads * shape.head_dim}, DType::kBF16));
    }
    std::vector<int32_t> lengths(static_cast<size_t>(shape.num_seqs), shape.length);
    for (int i = 0; shape.ragged && i < shape.num_seqs; ++i) {
      lengths[static_cast<size_t>(i)] = shape.length * (2 * i + 1) / shape.num_seqs;
    }
    std::vector<int32_t> starts(lengths.size() + 1);
    for (size_t i = 0; i < starts.size(); ++i) {
      starts[i] = static_cast<int32_t>(i) * shape.num_queries;
    }
    // Blocks in no order: a stride that shares no factor with their number.
    std::vector<int32_t> blocks(static_cast<size_t>(num_blocks()));
    int64_t stride = num_blocks() * 5 / 8 + 1;
    while (std::gcd(stride, num_blocks()) != 1) ++stride;
    for (size_t i = 0; i < blocks.size(); ++i) {
      blocks[i] = static_cast<int32_t>(static_cast<int64_t>(i) * stride % num_blocks());
    }
    seq_lens_ = upload(lengths, {shape.num_seqs});
    query_start_loc_ = upload(starts, {shape.num_seqs + 1});
    block_table_ = upload(blocks, {shape.num_seqs, blocks_per_seq_});
    batch_ = {.num_seqs = shape.num_seqs,
              .num_decode_seqs = shape.num_queries == 1 ? shape.num_seqs : 0,
              .max_query_len = shape.num_queries,
              .query_start_loc = query_start_loc_.view(),
              .seq_lens = seq_lens_.view(),
              .block_table = block_table_.view()};
  }

  int num_caches() const { return num_caches_; }

  // A step plans once, before its first layer.
  void run(int i) {
    if (i == 0) plan();
    const int64_t block_bytes =
        int64_t{2} * kKVHeads * kBlockSize * shape_.head_dim * size_of(DType::kBF16);
    const Tensor& cache = caches_[static_cast<size_t>(i % num_caches_)];
    bench_.table().paged_attention(bench_.stream(),
                                   {.q = q_.view(),
                                    .out = out_.view(),
                                    .cache = {.arena = cache.view().as<std::byte>(),
                                              .block_bytes = block_bytes,
                                              .block_size = kBlockSize,
                                              .num_kv_heads = kKVHeads,
                                              .head_dim = shape_.head_dim,
                                              .dtype = DType::kBF16},
                                    .batch = &batch_,
                                    .num_heads = kHeads,
                                    .scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim)),
                                    .softcap = shape_.softcap,
                                    .sliding_window = shape_.sliding_window});
  }

 private:
  // In the memory of the last one: while a graph is recorded the workspace cannot grow.
  void plan() {
    plan_scope_.reset();
    plan_scope_.emplace(bench_.stream().workspace());
    batch_.plan = bench_.table().plan_attention(bench_.stream(),
                                                {.batch = &batch_,
                                                 .shape = {.num_heads = kHeads,
                                                           .num_kv_heads = kKVHeads,
                                                           .head_dim = shape_.head_dim,
                                                           .sliding_window = shape_.sliding_window,
                                                           .dtype = DType::kBF16}});
  }
  int64_t num_blocks() const { return int64_t{blocks_per_seq_} * shape_.num_seqs; }
  Tensor upload(const std::vector<int32_t>& values, quire::Shape shape) {
    return bench_.upload(TensorView(const_cast<int32_t*>(values.data()), shape, DType::kI32));
  }

  CudaBench& bench_;
  const Shape shape_;
  const int blocks_per_seq_;
  const int num_caches_;
  std::optional<Workspace::Scope> plan_scope_;
  Tensor q_, out_;
  std::vector<Tensor> caches_;
  Tensor seq_lens_, query_start_loc_, block_table_;
  AttentionBatch batch_;
};

std::string name_of(const char* phase, const Shape& shape) {
  std::string name = std::string("attention/") + phase + "/" + std::to_string(shape.num_seqs) +
                     "x" + std::to_string(shape.length) + "/hd" + std::to_string(shape.head_dim);
  if (shape.num_queries > 1 && shape.num_queries < shape.length) {
    name += "/chunk" + std::to_string(shape.num_queries);
  }
  if (shape.ragged) name += "/ragged";
  if (shape.softcap > 0.0F) name += "/softcap";
  if (shape.sliding_window > 0) name += "/window" + std::to_string(shape.sliding_window);
  return name;
}

void decode(CudaBench& bench, const Shape& shape) {
  const std::string name = name_of("decode", shape);
  if (!bench.wants(name)) return;
  AttentionStep step(bench, shape);
  constexpr int kLayers = 32;
  const int per_graph = std::max(kLayers, step.num_caches());
  bench.measure(name, CudaBench::Roof::kBytes, static_cast<double>(kv_bytes(shape)), per_graph,
                [&](int i) { step.run(i); });
}

void prefill(CudaBench& bench, const Shape& shape) {
  const std::string name = name_of("prefill", shape);
  if (!bench.wants(name)) return;
  AttentionStep step(bench, shape);
  // Pairs of a query and a key that it sees; two products of 2 operations per dimension for each.
  double pairs = 0.0;
  for (int i = shape.length - shape.num_queries; i < shape.length; ++i) {
    pairs += shape.sliding_window > 0 ? std::min(i + 1, shape.sliding_window) : i + 1;
  }
  const double flops = 4.0 * shape.num_seqs * pairs * kHeads * shape.head_dim;
  bench.measure(name, CudaBench::Roof::kFlops, flops, 2, [&](int i) { step.run(i); });
}

}  // namespace

void bench_attention(CudaBench& bench) {
  decode(bench, {.num_seqs = 1, .num_queries = 1, .length = 1024});
  decode(bench, {.num_seqs = 1, .num_queries = 1, .length = 8192});
  decode(bench, {.num_seqs = 1, .num_queries = 1, .length = 32768});
  decode(bench, {.num_seqs = 8, .num_queries = 1, .length = 1024});
  decode(bench, {.num_seqs = 32, .num_queries = 1, .length = 1024});
  decode(bench, {.num_seqs = 64, .num_queries = 1, .length = 1024});
  decode(bench, {.num_seqs = 64, .num_queries = 1, .length = 4096});
  decode(bench, {.num_seqs = 64, .num_queries = 1, .length = 8192});
  decode(bench, {.num_seqs = 256, .num_queries = 1, .length = 1024});
  decode(bench, {.num_seqs = 64, .num_queries = 1, .length = 600, .ragged = true});
  decode(bench, {.num_seqs = 128, .num_queries = 1, .length = 600, .ragged = true});
  decode(bench, {.num_seqs = 256, .num_queries = 1, .length = 600, .ragged = true});
  decode(bench, {.num_seqs = 512, .num_queries = 1, .length = 400, .ragged = true});
  decode(bench, {.num_seqs = 900, .num_queries = 1, .length = 300, .ragged = true});
  decode(bench, {.num_seqs = 64, .num_queries = 1, .length = 4096, .head_dim = 64});
  decode(bench, {.num_seqs = 64, .num_queries = 1, .length = 2048, .ragged = true});
  decode(bench, {.num_seqs = 64, .num_queries = 1, .length = 4096, .head_dim = 256});

  prefill(bench, {.num_seqs = 1, .num_queries = 1024, .length = 1024});
  prefill(bench, {.num_seqs = 1, .num_queries = 2048, .length = 2048});
  prefill(bench, {.num_seqs = 1, .num_queries = 8192, .length = 8192});
  prefill(bench, {.num_seqs = 8, .num_queries = 1024, .length = 1024});
  prefill(bench, {.num_seqs = 1, .num_queries = 512, .length = 32768});
  prefill(bench, {.num_seqs = 8, .num_queries = 512, .length = 32768});
  for (const int head_dim : {64, 96, 256}) {
    prefill(bench, {.num_seqs = 1, .num_queries = 8192, .length = 8192, .head_dim = head_dim});
  }
  prefill(bench, {.num_seqs = 1,
                  .num_queries = 8192,
                  .length = 8192,
                  .head_dim = 256,
                  .softcap = 50.0F,
                  .sliding_window = 4096});
}

}  // namespace quire::bench
