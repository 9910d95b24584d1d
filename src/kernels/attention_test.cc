#include "kernels/attention.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <random>

#include "kernels/kernel_test_support.h"

namespace quire {
namespace {

struct HeadShape {
  int num_heads, num_kv_heads, head_dim, block_size;
  DType dtype;
  float softcap;
  int sliding_window;
};

std::string describe(const HeadShape& s) {
  return std::to_string(s.num_heads) + "/" + std::to_string(s.num_kv_heads) + " heads of " +
         std::to_string(s.head_dim) + ", block " + std::to_string(s.block_size) + ", " +
         to_string(s.dtype) + ", softcap " + std::to_string(s.softcap) + ", window " +
         std::to_string(s.sliding_window);
}

// Sequences in a paged cache whose free slots hold NaNs, as a stale block may; every step starts
// with NaNs in scratch memory and in the output.
class PagedSequences {
 public:
  PagedSequences(Random& random, const HeadShape& shape, std::vector<int> lengths)
      : shape_(shape), lengths_(std::move(lengths)) {
    const int longest = *std::max_element(lengths_.begin(), lengths_.end());
    const int max_blocks = (longest + shape.block_size - 1) / shape.block_size;
    const int num_seqs = static_cast<int>(lengths_.size());
    num_blocks_ = max_blocks * num_seqs + 3;
    std::vector<int32_t> order(num_blocks_);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(7));
    order.resize(static_cast<size_t>(max_blocks) * lengths_.size());
    block_table_ = indices(order);
    table_view_ = TensorView(block_table_.view().data, {num_seqs, max_blocks}, DType::kI32);
    for (int length : lengths_) {
      k_.push_back(random.tensor(length, shape.num_kv_heads * shape.head_dim));
      v_.push_back(random.tensor(length, shape.num_kv_heads * shape.head_dim));
      q_.push_back(random.tensor(length, shape.num_heads * shape.head_dim));
    }
    block_bytes_ = layer_offset_ * 2 + 2 * int64_t{shape.block_size} * shape.num_kv_heads *
                                           shape.head_dim * size_of(shape.dtype);
    arena_ = Buffer(block_bytes_ * num_blocks_);
    const float nan = std::nanf("");
    for (int64_t i = 0; i < arena_.num_bytes() / size_of(shape.dtype); ++i) {
      store_element(shape.dtype, arena_.data(), i, nan);
    }
  }

  KVCacheView cache() const {
    return {.arena = arena_.data(),
            .block_bytes = block_bytes_,
            .layer_offset = layer_offset_,
            .block_size = shape_.block_size,
            .num_kv_heads = shape_.num_kv_heads,
            .head_dim = shape_.head_dim,
            .dtype = shape_.dtype};
  }

  struct Chunk {
    int seq, begin, count;
  };

  // One step: writes K and V of the chunks, then attends; out[i] belongs to chunk i.
  std::vector<Tensor> step(const KernelTable& table, Stream& stream,
                           const std::vector<Chunk>& chunks) {
    std::vector<int32_t> starts = {0};
    std::vector<int32_t> lens;
    std::vector<int32_t> rows_of_table;
    for (const Chunk& chunk : chunks) {
      starts.push_back(starts.back() + chunk.count);
      lens.push_back(chunk.begin + chunk.count);
      rows_of_table.push_back(chunk.seq);
    }
    const int num_tokens = starts.back();
    const Tensor k = gather(chunks, k_, num_tokens);
    const Tensor v = gather(chunks, v_, num_tokens);
    const Tensor q = gather(chunks, q_, num_tokens);
    const Tensor slots = slot_mapping(chunks);
    table.kv_cache_write(
        stream, {.k = k.view(), .v = v.view(), .slot_mapping = slots.view(), .cache = cache()});

    Tensor tables({static_cast<int64_t>(chunks.size()), table_view_.shape[1]}, DType::kI32);
    for (size_t i = 0; i < chunks.size(); ++i) {
      std::memcpy(tables.view().row<int32_t>(static_cast<int64_t>(i)),
                  table_view_.row<int32_t>(chunks[i].seq),
                  static_cast<size_t>(table_view_.shape[1]) * sizeof(int32_t));
    }
    const Tensor start_tensor = indices(starts);
    const Tensor len_tensor = indices(lens);
    const AttentionBatch batch{.num_seqs = static_cast<int>(chunks.size()),
                               .query_start_loc = start_tensor.view(),
                               .seq_lens = len_tensor.view(),
                               .block_table = tables.view()};
    const Tensor out = nans(num_tokens, shape_.num_heads * shape_.head_dim);
    poison(stream.workspace());
    table.paged_attention(stream, {.q = q.view(),
                                   .out = out.view(),
                                   .cache = cache(),
                                   .batch = &batch,
                                   .num_heads = shape_.num_heads,
                                   .scale = 1.0F / std::sqrt(static_cast<float>(shape_.head_dim)),
                                   .softcap = shape_.softcap,
                                   .sliding_window = shape_.sliding_window});
    std::vector<Tensor> result;
    for (size_t i = 0; i < chunks.size(); ++i) {
      result.push_back(copy(out.view().rows_view(starts[i], chunks[i].count)));
    }
    return result;
  }

 private:
  Tensor gather(const std::vector<Chunk>& chunks, const std::vector<Tensor>& from, int num_tokens) {
    const int64_t width = from[0].view().shape[1];
    Tensor result({num_tokens, width}, DType::kF32);
    int64_t row = 0;
    for (const Chunk& chunk : chunks) {
      std::memcpy(result.view().row<float>(row), from[chunk.seq].view().row<float>(chunk.begin),
                  static_cast<size_t>(chunk.count * width) * sizeof(float));
      row += chunk.count;
    }
    return result;
  }
  Tensor slot_mapping(const std::vector<Chunk>& chunks) {
    std::vector<int32_t> slots;
    for (const Chunk& chunk : chunks) {
      for (int t = chunk.begin; t < chunk.begin + chunk.count; ++t) {
        const int32_t block = table_view_.row<int32_t>(chunk.seq)[t / shape_.block_size];
        slots.push_back(block * shape_.block_size + t % shape_.block_size);
      }
    }
    return indices(slots);
  }

  HeadShape shape_;
  std::vector<int> lengths_;
  int64_t layer_offset_ = 128;
  int64_t block_bytes_ = 0;
  int num_blocks_ = 0;
  Buffer arena_;
  Tensor block_table_;
  TensorView table_view_;
  std::vector<Tensor> k_, v_, q_;
};

std::vector<HeadShape> shapes() {
  std::vector<HeadShape> result;
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    result.push_back({4, 2, 64, 16, dtype, 0.0F, 0});
    result.push_back({3, 3, 80, 16, dtype, 0.0F, 0});
    result.push_back({8, 2, 96, 32, dtype, 0.0F, 20});
    result.push_back({7, 1, 128, 16, dtype, 0.0F, 270});
    result.push_back({4, 2, 256, 48, dtype, 30.0F, 0});
    result.push_back({2, 1, 16, 16, dtype, 0.0F, 1});
    result.push_back({20, 1, 24, 16, dtype, 5.0F, 17});
    result.push_back({2, 2, 32, 64, dtype, 0.0F, 257});
  }
  return result;
}

TEST(PagedAttention, EveryTableAgreesWithTheReference) {
  TestStream test;
  for (const HeadShape& shape : shapes()) {
    SCOPED_TRACE(describe(shape));
    Random random(20);
    const std::vector<int> lengths = {1, 275, 21};
    const std::vector<PagedSequences::Chunk> all = {{0, 0, 1}, {1, 0, 275}, {2, 0, 21}};
    PagedSequences reference(random, shape, lengths);
    const std::vector<Tensor> expected = reference.step(reference_table(), test.stream, all);
    for (const KernelTable* table : fast_tables()) {
      SCOPED_TRACE(table->name);
      Random again(20);
      PagedSequences sequences(again, shape, lengths);
      const std::vector<Tensor> out = sequences.step(*table, test.stream, all);
      for (size_t i = 0; i < out.size(); ++i) {
        // With a bf16 cache, queries and softmax weights may be rounded to bf16 as well.
        const float tolerance = shape.dtype == DType::kBF16 ? 0.04F : 2e-5F;
        expect_near(out[i].view(), expected[i].view(), tolerance);
      }
    }
  }
}

TEST(PagedAttention, DecodesAfterPromptsOfAnyLength) {
  TestStream test;
  Random choose(23);
  constexpr int kSteps = 3;
  for (int i = 0; i < 12; ++i) {
    const int num_kv_heads = choose.between(1, 3);
    const HeadShape shape{num_kv_heads * choose.between(1, 9),
                          num_kv_heads,
                          8 * choose.between(2, 12),
                          16 * choose.between(1, 2),
                          i % 3 == 0 ? DType::kF32 : DType::kBF16,
                          0.0F,
                          i % 4 == 0 ? choose.between(1, 100) : 0};
    const int prompt = i == 1 ? 217 : choose.between(1, 300);
    const int other = choose.between(1, 40);
    const auto run = [&](const KernelTable& table) {
      Random random(24);
      PagedSequences sequences(random, shape, {prompt + kSteps, other + kSteps});
      std::vector<Tensor> out = sequences.step(table, test.stream, {{0, 0, prompt}, {1, 0, other}});
      for (int step = 0; step < kSteps; ++step) {
        std::vector<Tensor> more =
            sequences.step(table, test.stream, {{0, prompt + step, 1}, {1, other + step, 1}});
        std::move(more.begin(), more.end(), std::back_inserter(out));
      }
      return out;
    };
    const std::vector<Tensor> expected = run(reference_table());
    for (const KernelTable* table : fast_tables()) {
      SCOPED_TRACE(describe(shape) + ", prompt " + std::to_string(prompt) + ", " + table->name);
      const std::vector<Tensor> out = run(*table);
      for (size_t j = 0; j < out.size(); ++j) {
        expect_near(out[j].view(), expected[j].view(), shape.dtype == DType::kF32 ? 2e-5F : 0.04F);
      }
    }
  }
}

TEST(PagedAttention, AQueryIsBitwiseTheSameInAnyChunkBatchAndNumberOfThreads) {
  TestStream one(1);
  TestStream three(3);
  for (const HeadShape& shape : shapes()) {
    for (const KernelTable* table : fast_tables()) {
      SCOPED_TRACE(describe(shape) + " " + table->name);
      Random random(21);
      const std::vector<int> lengths = {330, 45};
      PagedSequences whole(random, shape, lengths);
      const Tensor expected0 = std::move(whole.step(*table, one.stream, {{0, 0, 330}})[0]);
      const Tensor expected1 = std::move(whole.step(*table, one.stream, {{1, 0, 45}})[0]);

      Random again(21);
      PagedSequences chunked(again, shape, lengths);
      int done0 = 0;
      int done1 = 0;
      for (const int count : {60, 1, 13, 200, 1, 55}) {
        std::vector<PagedSequences::Chunk> chunks = {{0, done0, count}};
        if (done1 < 45) chunks.insert(chunks.begin(), {1, done1, 15});
        const std::vector<Tensor> out = chunked.step(*table, three.stream, chunks);
        expect_same_bits(out.back().view(), expected0.view().rows_view(done0, count));
        if (done1 < 45) expect_same_bits(out[0].view(), expected1.view().rows_view(done1, 15));
        done0 += count;
        done1 += 15;
      }
      ASSERT_EQ(done0, 330);
    }
  }
}

TEST(PagedAttention, DecodeOfALongSequenceIsSplitWithoutChangingABit) {
  TestStream one(1);
  TestStream three(3);
  const HeadShape shape{4, 1, 64, 16, DType::kBF16, 0.0F, 0};
  for (const KernelTable* table : fast_tables()) {
    Random random(22);
    PagedSequences sequences(random, shape, {2100});
    sequences.step(*table, one.stream, {{0, 0, 2099}});
    const Tensor alone = std::move(sequences.step(*table, one.stream, {{0, 2099, 1}})[0]);
    const Tensor split = std::move(sequences.step(*table, three.stream, {{0, 2099, 1}})[0]);
    expect_same_bits(split.view(), alone.view());
  }
}

}  // namespace
}  // namespace quire
