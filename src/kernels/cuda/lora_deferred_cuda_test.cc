// Additions left to the kernel that reads the product, against the same kernel after lora_add.
#include "kernels/cuda/lora_cuda_test_support.h"

namespace quire {
namespace {

struct DeferredCase {
  int num_tokens = 0;
  int num_adapters = 0;
  int max_rank = 0;
};
constexpr DeferredCase kCases[] = {{1, 1, 16},   {1, 1, 512}, {7, 2, 5},    {17, 1, 16},
                                   {32, 32, 16}, {33, 3, 70}, {64, 64, 16}, {64, 5, 33}};

// A step of few tokens, each of a random adapter or none.
struct RandomBatch {
  LoraTestArena arena;
  LoraTestBatch host;

  RandomBatch(Random& random, const LoraTestShape& shape, const DeferredCase& c)
      : arena(random, shape, make_ranks(random, shape, c)), host(arena, make_adapters(random, c)) {}

  static std::vector<std::vector<int>> make_ranks(Random& random, const LoraTestShape& shape,
                                                  const DeferredCase& c) {
    std::vector<std::vector<int>> ranks(static_cast<size_t>(c.num_adapters));
    for (std::vector<int>& adapter : ranks) {
      for (size_t p = 0; p < shape.out_features.size(); ++p) {
        adapter.push_back(random.between(0, c.max_rank));
      }
      adapter[0] = std::max(adapter[0], 1);
    }
    return ranks;
  }
  static std::vector<int> make_adapters(Random& random, const DeferredCase& c) {
    std::vector<int> adapters;
    for (int t = 0; t < c.num_tokens; ++t) {
      adapters.push_back(random.between(-1, c.num_adapters - 1));
    }
    adapters[0] = 0;
    return adapters;
  }
};

class CudaDeferredLora : public CudaTest {
 protected:
  // Calls use(out, lora) for an `out` to which lora_add has added, and for one to which it is to
  // add itself; the results, which are on the host, are to agree.
  template <typename Use>
  void expect_same(Random& random, const LoraTestShape& shape, const DeferredCase& c,
                   DType out_dtype, const Use& use) {
    const RandomBatch batch(random, shape, c);
    const DeviceBatch device(
        batch.arena, batch.host, [&](const TensorView& view) { return upload(view); }, *stream);
    int64_t out_size = 0;
    for (const int64_t size : shape.out_features) out_size += size;
    const Tensor x = upload(random.tensor(c.num_tokens, shape.in_features).view(), shape.dtype);
    const Tensor start = random.tensor(c.num_tokens, out_size);
    const Tensor sums = poisoned(
        batch.host.sums_shape(
            shape, table->lora_num_partials(shape.in_features, batch.host.batch.max_num_tokens)),
        DType::kF32);
    const auto args_for = [&](const Tensor& out) {
      return LoraAddArgs{.x = x.view(),
                         .batch = &device.batch,
                         .part_out_features = shape.out_features,
                         .sums = sums.view(),
                         .out = out.view()};
    };
    const Tensor added = upload(start.view(), out_dtype);
    table->lora_add(*stream, args_for(added));
    const std::vector<Tensor> expected = use(added.view(), DeferredLora{});
    const Tensor out = upload(start.view(), out_dtype);
    const LoraAddArgs lora = args_for(out);
    if (!table->lora_shrink(*stream, lora)) GTEST_SKIP() << "not on this GPU";
    const std::vector<Tensor> results = use(out.view(), lora);
    for (size_t i = 0; i < results.size(); ++i) {
      EXPECT_LT(relative_error(results[i].view(), expected[i].view()),
                shape.dtype == DType::kBF16 ? 1e-2 : 2e-3)
          << "result " << i << " of " << c.num_tokens << " tokens, " << c.num_adapters
          << " adapters of rank " << c.max_rank << ", " << out_size << " columns";
    }
  }

  static DType any_dtype(Random& random) {
    return random.between(0, 1) == 0 ? DType::kBF16 : DType::kF16;
  }
};

TEST_F(CudaDeferredLora, NormsOfTheResidualStream) {
  Random random(46);
  for (const DeferredCase& c : kCases) {
    for (const int64_t hidden : {64, 1024, 1032, 4096, 14336}) {
      const DType dtype = any_dtype(random);
      const Tensor weight = upload(random.vector(hidden).view());
      const bool is_layer_norm = random.between(0, 3) == 0;
      const auto norm = [&](const TensorView& x, const DeferredLora& lora) {
        const Tensor out = poisoned({c.num_tokens, hidden}, dtype);
        if (is_layer_norm) {
          table->layer_norm(*stream, {.x = x,
                                      .weight = weight.view(),
                                      .bias = weight.view(),
                                      .out = out.view(),
                                      .lora = lora});
        } else {
          table->rms_norm(*stream, {.x = x,
                                    .weight = weight.view(),
                                    .out = out.view(),
                                    .weight_offset = 1.0F,
                                    .lora = lora});
        }
        std::vector<Tensor> results;
        results.push_back(download(out.view()));
        results.push_back(download(x));
        return results;
      };
      expect_same(random, {dtype, 1024, {hidden}}, c, DType::kF32, norm);
    }
  }
}

TEST_F(CudaDeferredLora, GatedActivations) {
  Random random(47);
  for (const DeferredCase& c : kCases) {
    for (const int64_t size : {64, 1032, 14336}) {
      const DType dtype = any_dtype(random);
      const bool is_stacked = random.between(0, 3) > 0;
      const auto parts =
          is_stacked ? std::vector<int64_t>{size, size} : std::vector<int64_t>{2 * size};
      const auto activate = [&](const TensorView& x, const DeferredLora& lora) {
        const Tensor out = poisoned({c.num_tokens, size}, dtype);
        table->gated_activation(*stream, {.x = x, .out = out.view(), .lora = lora});
        std::vector<Tensor> results;
        results.push_back(download(out.view()));
        return results;
      };
      expect_same(random, {dtype, 512, parts}, c, dtype, activate);
    }
  }
}

TEST_F(CudaDeferredLora, HeadsOfQKAndV) {
  Random random(48);
  constexpr int kBlockSize = 16;
  constexpr int64_t kNumBlocks = kMaxDeferredTokens / kBlockSize;
  for (const DeferredCase& c : kCases) {
    for (const int head_dim : {64, 96, 128, 256}) {
      const DType dtype = any_dtype(random);
      const int num_kv_heads = random.between(1, 8);
      const int64_t q_size = int64_t{random.between(1, 32)} * head_dim;
      const int64_t kv_size = int64_t{num_kv_heads} * head_dim;
      const Tensor cos_sin = upload(random.tensor(8, head_dim).view());
      const Tensor norm = upload(random.vector(head_dim).view());
      const bool has_norm = random.between(0, 1) == 1;
      std::vector<int32_t> positions;
      std::vector<int32_t> slots;
      for (int t = 0; t < c.num_tokens; ++t) {
        positions.push_back(random.between(0, 7));
        slots.push_back(t % 9 == 8 ? -1 : t);
      }
      const Tensor device_positions = upload(indices(positions).view());
      const Tensor device_slots = upload(indices(slots).view());
      const auto prepare = [&](const TensorView& qkv, const DeferredLora& lora) {
        const Tensor cache =
            upload(Tensor({kNumBlocks, 2 * kBlockSize * kv_size}, DType::kF32).view(), dtype);
        QkNormRopeKVWriteArgs args;
        args.rope = {.positions = device_positions.view(),
                     .cos_sin = cos_sin.view(),
                     .x = qkv.columns_view(0, q_size),
                     .head_dim = head_dim,
                     .rotary_dim = head_dim};
        if (has_norm) args.q_norm_weight = args.k_norm_weight = norm.view();
        args.norm_eps = 1e-5F;
        args.write = {.k = qkv.columns_view(q_size, kv_size),
                      .v = qkv.columns_view(q_size + kv_size, kv_size),
                      .slot_mapping = device_slots.view(),
                      .cache = {.arena = cache.view().as<std::byte>(),
                                .block_bytes = 2 * kBlockSize * kv_size * size_of(dtype),
                                .block_size = kBlockSize,
                                .num_kv_heads = num_kv_heads,
                                .head_dim = head_dim,
                                .dtype = dtype}};
        args.lora = lora;
        table->qk_norm_rope_kv_write(*stream, args);
        std::vector<Tensor> results;
        results.push_back(download(cache.view()));
        results.push_back(copy(download(qkv).view().columns_view(0, q_size)));
        return results;
      };
      expect_same(random, {dtype, 2048, {q_size, kv_size, kv_size}}, c, dtype, prepare);
    }
  }
}

}  // namespace
}  // namespace quire
