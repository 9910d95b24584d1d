// Paged attention on the GPU against the reference.
#include <iterator>

#include "kernels/cuda/attention_cuda_test_support.h"

namespace quire {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// Head sizes with and without tensor cores, all kinds of groups, windows of all relations to tiles.
const HeadShape kShapes[] = {
    {4, 2, 64, 16},
    {3, 3, 80, 16},
    {8, 2, 96, 32, 0.0F, 20},
    {7, 1, 128, 16, 0.0F, 270},
    {8, 2, 128, 64},
    {4, 2, 256, 48, 30.0F},
    {9, 1, 256, 16, 0.0F, 64},
    {2, 1, 16, 16, 0.0F, 1},
    {20, 1, 24, 16, 5.0F, 17},
    {20, 1, 64, 32, 5.0F, 17},
    {16, 1, 128, 16, 0.0F, 65},
    {2, 2, 32, 64, 0.0F, 257},
};

TEST_F(CudaAttention, DecodesSequencesOfAnyLength) {
  for (const HeadShape& shape : kShapes) {
    for (DType dtype : kTypes) {
      check(shape, dtype, decoding({1, 275, 16, 64, 65, 21, 130}), 7);
    }
  }
}

TEST_F(CudaAttention, AttendsFromChunksOfAnyLength) {
  for (const HeadShape& shape : kShapes) {
    for (DType dtype : kTypes) {
      check(shape, dtype, {{1, 1}, {150, 150}, {21, 21}, {300, 33}, {65, 64}, {200, 1}}, 0);
    }
  }
}

TEST_F(CudaAttention, TakesDecodingAndChunksTogether) {
  for (const HeadShape& shape : kShapes) {
    for (DType dtype : kTypes) {
      check(shape, dtype, {{33, 1}, {290, 1}, {1, 1}, {140, 75}, {5, 1}, {80, 80}}, 3);
    }
  }
}

TEST_F(CudaAttention, SplitsLongSequences) {
  for (DType dtype : kTypes) {
    check({8, 2, 128, 16}, dtype, decoding({5000, 1, 2048}), 3);
    check({14, 2, 64, 32, 0.0F, 3000}, dtype, decoding({5000}), 1);
    check({2, 1, 256, 16, 50.0F}, dtype, decoding({40, 5000}), 2);
    check({4, 1, 64, 16}, dtype, decoding({20000}), 1);
    check({8, 2, 128, 16}, dtype, {{5000, 30}, {4000, 1}}, 0);
  }
}

TEST_F(CudaAttention, DividesManySequencesEvenly) {
  Random random(31);
  std::vector<int> lengths;
  for (int i = 0; i < 150; ++i) lengths.push_back(random.between(1, i % 7 == 0 ? 700 : 90));
  for (DType dtype : kTypes) check({4, 2, 64, 16}, dtype, decoding(lengths), 150);

  std::vector<QueryChunk> chunks;
  for (int length : lengths) chunks.push_back({length, std::min(length, random.between(1, 40))});
  for (DType dtype : kTypes) check({4, 2, 64, 16}, dtype, chunks, 0);
}

// More sequences and heads than blocks of threads at once, whose shares begin and end anywhere.
TEST_F(CudaAttention, GoesOnFromSequenceToSequence) {
  Random random(33);
  std::vector<int> lengths;
  for (int i = 0; i < 130; ++i) lengths.push_back(random.between(1, i % 5 == 0 ? 900 : 200));
  for (DType dtype : kTypes) {
    check({16, 8, 64, 16}, dtype, decoding(lengths), 130);
    check({8, 8, 128, 16, 0.0F, 150}, dtype, decoding(lengths), 130);
    check({9, 1, 256, 16}, dtype, decoding(std::vector<int>(300, 70)), 300);
    check({10, 1, 128, 16}, dtype, decoding(std::vector<int>(500, 100)), 500);
    check({8, 8, 80, 16}, dtype, decoding(std::vector<int>(64, 1)), 64);
  }
}

// As in a recorded step: rows that fill it up are one token long, in one and the same block.
TEST_F(CudaAttention, TakesRowsThatFillUpTheBatch) {
  const HeadShape shape{8, 2, 128, 16};
  for (DType dtype : kTypes) {
    std::vector<int> lengths(40, 1);
    lengths[0] = 700;
    lengths[1] = 33;
    prepare(shape, dtype, decoding(lengths));
    for (int64_t i = 3; i < 40; ++i) table_.row<int32_t>(i)[0] = table_.row<int32_t>(2)[0];
    const Tensor expected = run_reference(shape);
    const Tensor out = run_cuda(shape, dtype, 40);
    const double tolerance = dtype == DType::kF32 ? 1e-5 : 1e-2;
    EXPECT_LT(relative_error(out.view(), expected.view()), tolerance);
  }
}

// A recorded step of a plan and two layers, replayed with other sequences in the same memory.
TEST_F(CudaAttention, FollowsTheLengthsOfEachReplay) {
  const HeadShape shape{8, 2, 128, 16};
  constexpr DType kType = DType::kBF16;
  const Device& device = *table->device;
  prepare(shape, kType, decoding({1, 900, 17, 1, 300}));
  DeviceStep step = device_step(shape, kType, 5);
  const Tensor outs[] = {poisoned(q_.view().shape, kType), poisoned(q_.view().shape, kType)};
  const auto run = [&] {
    plan(shape, kType, step);
    for (const Tensor& out : outs) run_layer(shape, step, out);
  };
  {
    const Workspace::Scope scope(stream->workspace());
    run();  // allocations
  }
  const Workspace::Scope scope(stream->workspace());
  stream->synchronize();
  device.begin_capture(stream->queue());
  run();
  void* graph = device.end_capture(stream->queue());
  const std::vector<int> replays[] = {
      {900, 1, 1, 64, 65}, {1, 900, 17, 1, 300}, {900, 900, 900, 900, 900}, {900, 1, 1, 1, 1}};
  for (const std::vector<int>& lengths : replays) {
    prepare(shape, kType, decoding(lengths));
    const DeviceStep other = device_step(shape, kType, 5);
    const auto replace = [&](const Tensor& to, const Tensor& from) {
      stream->copy(to.view().data, from.view().data,
                   from.view().shape.num_elements() * size_of(from.view().dtype));
    };
    replace(step.arena, other.arena);
    replace(step.q, other.q);
    replace(step.seq_lens, other.seq_lens);
    replace(step.block_table, other.block_table);
    device.launch_graph(stream->queue(), graph);
    const Tensor expected = run_reference(shape);
    for (const Tensor& out : outs) {
      const Tensor downloaded = download(out.view());
      EXPECT_LT(relative_error(downloaded.view(), expected.view()), 1e-2);
    }
  }
  device.destroy_graph(graph);
}

// Also where one sequence sees the newest token of another, as in a prefix that both have.
TEST_F(CudaAttention, ReadsNewTokensAfterTheyAreWritten) {
  for (const HeadShape& shape : {HeadShape{8, 2, 128, 16}, HeadShape{4, 1, 64, 32}}) {
    constexpr DType kType = DType::kBF16;
    prepare(shape, kType, decoding({160, 170, 333, 161, 2000}));
    share_prefix(shape, 160);
    const Tensor expected = run_reference(shape);
    DeviceStep step = device_step(shape, kType, 5);
    const NewTokens newest = newest_tokens(shape, kType);
    const Tensor out = poisoned(q_.view().shape, kType);
    const Tensor nothing = poisoned(newest.k.view().shape, kType);
    const auto write = [&](const Tensor& k, const Tensor& v) {
      table->kv_cache_write(*stream, {k.view(), v.view(), newest.slots.view(), step.cache});
    };
    write(nothing, nothing);
    const Workspace::Scope scope(stream->workspace());
    plan(shape, kType, step);
    write(newest.k, newest.v);
    run_layer(shape, step, out);
    EXPECT_LT(relative_error(download(out.view()).view(), expected.view()), 1e-2);
  }
}

TEST_F(CudaAttention, TakesPromptsOfManyTiles) {
  for (DType dtype : kTypes) {
    check({4, 1, 128, 16}, dtype, {{700, 700}}, 0);
    check({2, 2, 64, 16, 0.0F, 100}, dtype, {{400, 400}, {390, 380}}, 0);
    check({2, 1, 256, 16, 20.0F, 128}, dtype, {{330, 330}}, 0);
  }
}

TEST_F(CudaAttention, AgreesForRandomShapes) {
  Random random(32);
  for (int i = 0; i < 30; ++i) {
    const int num_kv_heads = random.between(1, 3);
    constexpr int kDims[] = {64, 80, 96, 128, 256, 8, 40};
    const HeadShape shape{
        num_kv_heads * random.between(1, 9), num_kv_heads,
        kDims[i % std::size(kDims)],         16 * random.between(1, 4),
        i % 4 == 0 ? 10.0F : 0.0F,           i % 3 == 0 ? random.between(1, 200) : 0};
    std::vector<QueryChunk> chunks = decoding({random.between(1, 400), random.between(1, 400)});
    const int num_decode_seqs = random.between(0, 2);
    for (int j = 0; j < 3; ++j) {
      const int length = random.between(1, 300);
      chunks.push_back({length, random.between(1, std::min(length, 100))});
    }
    check(shape, i % 2 == 0 ? DType::kBF16 : DType::kF16, chunks, num_decode_seqs);
  }
}

TEST_F(CudaAttention, GivesTheSameBitsEachTime) {
  const HeadShape shape{8, 2, 128, 16};
  prepare(shape, DType::kBF16, {{3000, 1}, {40, 1}, {500, 100}});
  const Tensor first = run_cuda(shape, DType::kBF16, 2);
  const Tensor second = run_cuda(shape, DType::kBF16, 2);
  expect_same_bits(second.view(), first.view());
}

// The rows that fill a step up to its size have no tokens, or one.
TEST_F(CudaAttention, LeavesOtherSequencesAloneWhenSomeAreEmpty) {
  const HeadShape shape{8, 2, 128, 16};
  for (DType dtype : kTypes) {
    prepare(shape, dtype, decoding({100, 1, 1, 1}));
    const Tensor expected = run_reference(shape);
    seq_lens_.view().as<int32_t>()[2] = 0;
    seq_lens_.view().as<int32_t>()[3] = 0;
    const Tensor out = run_cuda(shape, dtype, 4);
    const double tolerance = dtype == DType::kF32 ? 1e-5 : 1e-2;
    EXPECT_LT(relative_error(out.view().rows_view(0, 2), expected.view().rows_view(0, 2)),
              tolerance);
  }
}

}  // namespace
}  // namespace quire
