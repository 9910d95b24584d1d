// A step of attention over sequences of any lengths, on the device and by the reference, over
// caches written here in the layout of kv_layout.cuh.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/cuda_test_support.h"

namespace quire {

struct HeadShape {
  int num_heads, num_kv_heads, head_dim, block_size;
  float softcap = 0.0F;
  int sliding_window = 0;
};

// A sequence of `length` tokens, the last num_queries of which are attended from.
struct QueryChunk {
  int length, num_queries;
};

inline std::string describe(const HeadShape& s, DType dtype) {
  return std::to_string(s.num_heads) + "/" + std::to_string(s.num_kv_heads) + " heads of " +
         std::to_string(s.head_dim) + ", block " + std::to_string(s.block_size) + ", " +
         to_string(dtype) + ", softcap " + std::to_string(s.softcap) + ", window " +
         std::to_string(s.sliding_window);
}

// Free slots hold NaNs, as a stale block may; so does what is between the rows of q.
class CudaAttention : public CudaTest {
 protected:
  // Runs the chunks, of which the first num_decode_seqs are said to be decoding, and compares each
  // query with the reference.
  void check(const HeadShape& shape, DType dtype, const std::vector<QueryChunk>& chunks,
             int num_decode_seqs) {
    SCOPED_TRACE(describe(shape, dtype) + ", " + std::to_string(num_decode_seqs) + " of " +
                 std::to_string(chunks.size()) + " sequences decode");
    prepare(shape, dtype, chunks);
    const Tensor expected = run_reference(shape);
    const Tensor out = run_cuda(shape, dtype, num_decode_seqs);
    // A row is an average of rounded numbers: about the error of one of them.
    const double tolerance = dtype == DType::kF32 ? 1e-5 : (dtype == DType::kF16 ? 2e-3 : 1e-2);
    for (int64_t i = 0; i < expected.view().rows(); ++i) {
      ASSERT_LT(relative_error(out.view().rows_view(i, 1), expected.view().rows_view(i, 1)),
                tolerance)
          << "query " << i;
    }
  }

  void prepare(const HeadShape& shape, DType dtype, const std::vector<QueryChunk>& chunks) {
    std::vector<int32_t> lengths;
    std::vector<int32_t> starts = {0};
    for (const QueryChunk& chunk : chunks) {
      lengths.push_back(chunk.length);
      starts.push_back(starts.back() + chunk.num_queries);
    }
    seq_lens_ = indices(lengths);
    query_start_loc_ = indices(starts);
    const int longest = *std::max_element(lengths.begin(), lengths.end());
    max_blocks_ = longest / shape.block_size + 1;
    const int64_t num_seqs = static_cast<int64_t>(chunks.size());
    num_blocks_ = max_blocks_ * num_seqs + 3;
    std::vector<int32_t> order(static_cast<size_t>(num_blocks_));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(7));
    order.resize(static_cast<size_t>(max_blocks_ * num_seqs));
    block_table_ = indices(order);
    table_ = TensorView(block_table_.view().data, {num_seqs, max_blocks_}, DType::kI32);

    Random random(20);
    q_ = rounded(random.tensor(starts.back(), shape.num_heads * shape.head_dim).view(), dtype);
    const int64_t num_keys = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    k_ = rounded(random.tensor(num_keys, shape.num_kv_heads * shape.head_dim).view(), dtype);
    v_ = rounded(random.tensor(num_keys, shape.num_kv_heads * shape.head_dim).view(), dtype);
  }

  Tensor run_reference(const HeadShape& shape) {
    const KVCacheView cache = cache_view(shape, DType::kF32);
    const Buffer arena(cache.block_bytes * num_blocks_);
    KVCacheView filled = cache;
    filled.arena = arena.data();
    const Tensor slots = slot_mapping(shape);
    reference_table().kv_cache_write(
        *host_stream,
        {.k = k_.view(), .v = v_.view(), .slot_mapping = slots.view(), .cache = filled});
    const AttentionBatch batch{.num_seqs = static_cast<int>(table_.rows()),
                               .query_start_loc = query_start_loc_.view(),
                               .seq_lens = seq_lens_.view(),
                               .block_table = table_};
    Tensor out(q_.view().shape, DType::kF32);
    reference_table().paged_attention(*host_stream,
                                      attention_args(shape, q_.view(), out.view(), filled, batch));
    return out;
  }

  // What one step has on the device.
  struct DeviceStep {
    Tensor arena, q, query_start_loc, seq_lens, block_table;
    KVCacheView cache;
    AttentionBatch batch;
  };

  DeviceStep device_step(const HeadShape& shape, DType dtype, int num_decode_seqs) {
    // Rows of q with something between them.
    const int64_t columns = q_.view().shape[1];
    Tensor wide = nans(q_.view().rows(), columns + kGap);
    for (int64_t i = 0; i < q_.view().rows(); ++i) {
      std::memcpy(wide.view().row<float>(i), q_.view().row<float>(i),
                  static_cast<size_t>(columns) * sizeof(float));
    }
    DeviceStep step{.arena = device_arena(shape, dtype),
                    .q = upload(wide.view(), dtype),
                    .query_start_loc = upload(query_start_loc_.view()),
                    .seq_lens = upload(seq_lens_.view()),
                    .block_table = upload(table_),
                    .cache = cache_view(shape, dtype),
                    .batch = {}};
    step.cache.arena = step.arena.view().as<std::byte>();
    step.batch = {.num_seqs = static_cast<int>(table_.rows()),
                  .num_decode_seqs = num_decode_seqs,
                  .max_query_len = max_query_len(),
                  .query_start_loc = step.query_start_loc.view(),
                  .seq_lens = step.seq_lens.view(),
                  .block_table = step.block_table.view()};
    return step;
  }

  void plan(const HeadShape& shape, DType dtype, DeviceStep& step) {
    step.batch.plan =
        table->plan_attention(*stream, {.batch = &step.batch,
                                        .shape = {.num_heads = shape.num_heads,
                                                  .num_kv_heads = shape.num_kv_heads,
                                                  .head_dim = shape.head_dim,
                                                  .sliding_window = shape.sliding_window,
                                                  .dtype = dtype}});
  }

  void run_layer(const HeadShape& shape, const DeviceStep& step, const Tensor& out) {
    const TensorView q = step.q.view().columns_view(0, step.q.view().shape[1] - kGap);
    table->paged_attention(*stream, attention_args(shape, q, out.view(), step.cache, step.batch));
  }

  // The first layer without a plan, and two that share one.
  Tensor run_cuda(const HeadShape& shape, DType dtype, int num_decode_seqs) {
    DeviceStep step = device_step(shape, dtype, num_decode_seqs);
    const Tensor out = poisoned(q_.view().shape, dtype);
    poison_workspace();
    run_layer(shape, step, out);
    Tensor result = download(out.view());

    const Workspace::Scope scope(stream->workspace());
    plan(shape, dtype, step);
    for (int layer = 0; layer < 2; ++layer) {
      const Tensor planned = poisoned(q_.view().shape, dtype);
      run_layer(shape, step, planned);
      const Tensor downloaded = download(planned.view());
      expect_same_bits(downloaded.view(), result.view());
    }
    return result;
  }

  // Gives all sequences the first tokens of the first one, in its blocks.
  void share_prefix(const HeadShape& shape, int num_tokens) {
    for (int64_t seq = 0, row = 0; seq < table_.rows(); ++seq) {
      for (const Tensor* keys : {&k_, &v_}) {
        std::copy_n(keys->view().row<float>(0), num_tokens * keys->view().shape[1],
                    keys->view().row<float>(row));
      }
      std::copy_n(table_.row<int32_t>(0), num_tokens / shape.block_size, table_.row<int32_t>(seq));
      row += seq_lens_.view().as<int32_t>()[seq];
    }
  }

  struct NewTokens {
    Tensor k, v, slots;  // on the device
  };
  NewTokens newest_tokens(const HeadShape& shape, DType dtype) {
    const Tensor slots = slot_mapping(shape);
    Tensor k = nans(table_.rows(), k_.view().shape[1]);
    Tensor v = nans(table_.rows(), v_.view().shape[1]);
    std::vector<int32_t> newest;
    for (int64_t seq = 0, row = -1; seq < table_.rows(); ++seq) {
      row += seq_lens_.view().as<int32_t>()[seq];
      newest.push_back(slots.view().as<int32_t>()[row]);
      std::copy_n(k_.view().row<float>(row), k_.view().shape[1], k.view().row<float>(seq));
      std::copy_n(v_.view().row<float>(row), v_.view().shape[1], v.view().row<float>(seq));
    }
    return {upload(k.view(), dtype), upload(v.view(), dtype), upload(indices(newest).view())};
  }

  static std::vector<QueryChunk> decoding(const std::vector<int>& lengths) {
    std::vector<QueryChunk> chunks;
    for (int length : lengths) chunks.push_back({length, 1});
    return chunks;
  }

  static constexpr int kGap = 64;  // elements between the rows of q

  Tensor seq_lens_;
  TensorView table_;  // the block table
  Tensor q_;          // [queries, num_heads * head_dim] f32

 private:
  static PagedAttentionArgs attention_args(const HeadShape& shape, const TensorView& q,
                                           const TensorView& out, const KVCacheView& cache,
                                           const AttentionBatch& batch) {
    return {.q = q,
            .out = out,
            .cache = cache,
            .batch = &batch,
            .num_heads = shape.num_heads,
            .scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim)),
            .softcap = shape.softcap,
            .sliding_window = shape.sliding_window};
  }
  // With room for other layers before and after.
  static KVCacheView cache_view(const HeadShape& shape, DType dtype) {
    constexpr int64_t kOtherLayers = 1024;
    const int64_t layer_bytes =
        2 * int64_t{shape.block_size} * shape.num_kv_heads * shape.head_dim * size_of(dtype);
    return {.block_bytes = layer_bytes + 2 * kOtherLayers,
            .layer_offset = kOtherLayers,
            .block_size = shape.block_size,
            .num_kv_heads = shape.num_kv_heads,
            .head_dim = shape.head_dim,
            .dtype = dtype};
  }

  Tensor slot_mapping(const HeadShape& shape) const {
    std::vector<int32_t> slots;
    for (int64_t seq = 0; seq < table_.rows(); ++seq) {
      for (int t = 0; t < seq_lens_.view().as<int32_t>()[seq]; ++t) {
        const int32_t block = table_.row<int32_t>(seq)[t / shape.block_size];
        slots.push_back(block * shape.block_size + t % shape.block_size);
      }
    }
    return indices(slots);
  }

  // k_ and v_ as [K, V][kv head][token][dim] per block.
  Tensor device_arena(const HeadShape& shape, DType dtype) {
    const KVCacheView cache = cache_view(shape, dtype);
    const int64_t words = cache.block_bytes * num_blocks_ / static_cast<int64_t>(sizeof(int32_t));
    Tensor arena({words}, DType::kI32);
    std::fill_n(arena.view().as<int32_t>(), words, -1);
    const Tensor slots = slot_mapping(shape);
    for (int64_t i = 0; i < slots.view().rows(); ++i) {
      const int32_t slot = slots.view().as<int32_t>()[i];
      std::byte* block = arena.view().as<std::byte>() +
                         slot / shape.block_size * cache.block_bytes + cache.layer_offset;
      for (int head = 0; head < shape.num_kv_heads; ++head) {
        const int64_t key =
            (int64_t{head} * shape.block_size + slot % shape.block_size) * shape.head_dim;
        const int64_t values = int64_t{shape.num_kv_heads} * shape.block_size * shape.head_dim;
        for (int d = 0; d < shape.head_dim; ++d) {
          const int column = head * shape.head_dim + d;
          store_element(dtype, block, key + d, k_.view().row<float>(i)[column]);
          store_element(dtype, block, values + key + d, v_.view().row<float>(i)[column]);
        }
      }
    }
    return upload(arena.view());
  }

  // Fills the scratch memory that the next kernel takes with NaNs that mean nothing in a plan.
  void poison_workspace() {
    const Workspace::Scope scope(stream->workspace());
    constexpr int64_t kBytes = int64_t{4} << 20;
    const Tensor nans = indices(std::vector<int32_t>(kBytes / 4, INT32_MAX));
    stream->copy(stream->workspace().take(kBytes), nans.view().data, kBytes);
    stream->synchronize();
  }

  int max_query_len() const {
    const int32_t* starts = query_start_loc_.view().as<int32_t>();
    int32_t longest = 0;
    for (int64_t i = 0; i < table_.rows(); ++i) {
      longest = std::max(longest, starts[i + 1] - starts[i]);
    }
    return longest;
  }

  int64_t max_blocks_ = 0;
  int64_t num_blocks_ = 0;
  Tensor query_start_loc_;
  Tensor block_table_;  // the memory of table_
  Tensor k_, v_;        // [keys of all sequences, num_kv_heads * head_dim] f32
};

}  // namespace quire
