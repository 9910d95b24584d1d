#include "kernels/cuda/lora_cuda_test_support.h"

namespace quire {
namespace {

struct LoraCase {
  LoraTestShape shape;
  std::vector<std::vector<int>> ranks = {};
  std::vector<int> adapters = {};  // of each token
  bool is_recorded = false;        // launched for more tiles and ranks than there are
};

class CudaLora : public CudaTest {
 protected:
  void expect_same_as_reference(Random& random, const LoraCase& c, DType out_dtype) {
    const LoraTestArena arena(random, c.shape, c.ranks);
    LoraTestBatch host(arena, c.adapters);
    const auto num_tokens = static_cast<int64_t>(c.adapters.size());
    int64_t out_size = 0;
    for (const int64_t size : c.shape.out_features) out_size += size;
    const Tensor x = rounded(random.tensor(num_tokens, c.shape.in_features).view(), c.shape.dtype);
    const Tensor out = rounded(random.tensor(num_tokens, out_size).view(), out_dtype);
    const Tensor expected =
        add_adapters(reference_table(), *host_stream, c, host.batch, x.view(), out.view(),
                     Tensor(host.sums_shape(c.shape, 1), DType::kF32));

    if (c.is_recorded) {
      host.batch.max_rank = 512;
      host.batch.max_num_tiles += 7;
      host.batch.max_num_tokens += 5;
    }
    const DeviceBatch device(
        arena, host, [&](const TensorView& view) { return upload(view); }, *stream);
    const Tensor device_x = upload(x.view(), c.shape.dtype);
    const Tensor device_out = upload(out.view(), out_dtype);
    const int64_t num_partials =
        table->lora_num_partials(c.shape.in_features, host.batch.max_num_tokens);
    run(*table, *stream, c, device.batch, device_x.view(), device_out.view(),
        poisoned(host.sums_shape(c.shape, num_partials), DType::kF32));
    const double tolerance = out_dtype == DType::kF32 && c.shape.dtype == DType::kF32 ? 1e-5
                             : c.shape.dtype == DType::kBF16                          ? 1e-2
                                                                                      : 2e-3;
    EXPECT_LT(relative_error(download(device_out.view()).view(), expected.view()), tolerance)
        << to_string(c.shape.dtype) << ", " << num_tokens << " tokens, " << c.shape.in_features
        << " features";
  }

  static void run(const KernelTable& kernels, Stream& stream, const LoraCase& c,
                  const LoraBatch& batch, const TensorView& x, const TensorView& out,
                  const Tensor& sums) {
    kernels.lora_add(stream, {.x = x,
                              .batch = &batch,
                              .part_out_features = c.shape.out_features,
                              .sums = sums.view(),
                              .out = out});
    stream.synchronize();
  }
  static Tensor add_adapters(const KernelTable& kernels, Stream& stream, const LoraCase& c,
                             const LoraBatch& batch, const TensorView& x, const TensorView& out,
                             const Tensor& sums) {
    Tensor result = copy(out);
    run(kernels, stream, c, batch, x, result.view(), sums);
    return result;
  }
};

TEST_F(CudaLora, AgreesWithTheReference) {
  Random random(41);
  constexpr DType kTypes[] = {DType::kBF16, DType::kF16, DType::kF32};
  for (int i = 0; i < 60; ++i) {
    LoraCase c;
    const bool odd = i % 5 == 4;  // sizes that do not divide into vectors
    c.shape = {.dtype = kTypes[i % 3],
               .in_features = odd ? random.between(1, 900) : 8 * random.between(1, 300),
               .out_features = {}};
    const int num_parts = random.between(1, 3);
    for (int p = 0; p < num_parts; ++p) {
      c.shape.out_features.push_back(odd ? random.between(1, 700) : 8 * random.between(1, 90));
    }
    const int num_adapters = random.between(1, 6);
    for (int a = 0; a < num_adapters; ++a) {
      std::vector<int>& ranks = c.ranks.emplace_back();
      for (int p = 0; p < num_parts; ++p) ranks.push_back(random.between(0, i % 4 == 0 ? 90 : 20));
      ranks[0] = std::max(ranks[0], 1);
    }
    const int num_tokens = random.between(1, i % 6 == 0 ? 300 : 40);
    for (int t = 0; t < num_tokens; ++t) {
      c.adapters.push_back(random.between(-1, num_adapters - 1));
    }
    c.adapters[0] = 0;
    c.is_recorded = i % 2 == 1;
    expect_same_as_reference(random, c, i % 4 < 2 ? c.shape.dtype : DType::kF32);
  }
}

TEST_F(CudaLora, ServesTheShapesOfALargeModel) {
  Random random(42);
  for (const int num_tokens : {1, 33, 700}) {
    LoraCase c;
    c.shape = {.dtype = DType::kBF16, .in_features = 4096, .out_features = {4096, 1024, 1024}};
    c.ranks = {{16, 16, 16}, {512, 1, 0}, {64, 64, 64}};
    for (int t = 0; t < num_tokens; ++t) c.adapters.push_back(t % 3);
    expect_same_as_reference(random, c, DType::kBF16);
  }
}

// Prompts of one adapter, and beside tokens of many: ranges that clusters of several sizes add up,
// more rank rows than meet the tokens at once, and pieces that end within a part or a tile.
TEST_F(CudaLora, ServesPromptsBesideDecodedTokens) {
  struct Prompt {
    LoraTestShape shape;
    int num_tokens = 0;
    int num_decoded = 0;  // of them, of 32 adapters in turn; the others have one more
    std::vector<int> ranks = {};
    DType out_dtype = DType::kF32;
  };
  Random random(45);
  for (const Prompt& prompt :
       {Prompt{{DType::kBF16, 4096, {1024, 256, 256}}, 1024, 0, {16, 16, 16}, DType::kBF16},
        Prompt{{DType::kBF16, 14336, {1024}}, 1024, 0, {16}},
        Prompt{{DType::kBF16, 4096, {1024, 256, 256}}, 500, 250, {16, 8, 16}, DType::kBF16},
        Prompt{{DType::kF16, 1024, {1064, 1064}}, 500, 250, {16, 16}, DType::kF16},
        Prompt{{DType::kF16, 2048, {520}}, 2100, 3, {40}},
        Prompt{{DType::kBF16, 1536, {72, 8, 136, 200}}, 69, 5, {17, 0, 33, 1}}}) {
    for (const bool is_recorded : {false, true}) {
      LoraCase c{.shape = prompt.shape, .is_recorded = is_recorded};
      c.ranks.assign(33, prompt.ranks);
      for (int t = 0; t < prompt.num_tokens; ++t) {
        c.adapters.push_back(t < prompt.num_decoded ? t % 32 : 32);
      }
      expect_same_as_reference(random, c, prompt.out_dtype);
    }
  }
}

// Most tokens alone with an adapter or two to one, some of which have more ranks than a warp has
// lanes, beside a few adapters with many tokens: fewer tiles than clusters are made for, and more.
TEST_F(CudaLora, ServesManyAdapters) {
  Random random(46);
  const std::vector<int> ranks[] = {{8, 8, 8}, {16, 0, 16}, {32, 1, 5}, {33, 8, 40}, {24, 16, 3}};
  for (const int num_adapters : {70, 130, 300}) {
    for (const DType out_dtype : {DType::kBF16, DType::kF32}) {
      LoraCase c{.shape = {DType::kBF16, 2056, {1000, 264, 520}},
                 .is_recorded = out_dtype == DType::kBF16};
      for (int a = 0; a < num_adapters; ++a) {
        c.ranks.push_back(ranks[a % std::ssize(ranks)]);
        const int num_tokens = a % 40 == 7 ? 20 : random.between(1, 2);
        c.adapters.insert(c.adapters.end(), static_cast<size_t>(num_tokens), a);
      }
      expect_same_as_reference(random, c, out_dtype);
    }
  }
}

}  // namespace
}  // namespace quire
