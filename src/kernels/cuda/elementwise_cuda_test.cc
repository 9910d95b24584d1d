// Elementwise kernels, norms, rotations and copies against the reference.
#include "kernels/cuda/cuda_test_support.h"

namespace quire {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// For results rounded to `dtype`.
double tolerance(DType dtype) {
  return dtype == DType::kF32 ? 3e-6 : dtype == DType::kF16 ? 5e-4 : 4e-3;
}

class ElementwiseCuda : public CudaTest {
 protected:
  void expect_close(const TensorView& device, const TensorView& expected, DType dtype) {
    const Tensor result = download(device);
    EXPECT_LT(relative_error(result.view(), expected), tolerance(dtype));
  }
  void expect_same(const TensorView& device, const TensorView& expected) {
    const Tensor result = download(device);
    expect_same_bits(result.view(), expected);
  }
};

// Of x and out.
constexpr std::pair<DType, DType> kNormDTypes[] = {
    {DType::kF32, DType::kF32}, {DType::kF16, DType::kF16},  {DType::kBF16, DType::kBF16},
    {DType::kF32, DType::kF16}, {DType::kF32, DType::kBF16}, {DType::kF16, DType::kF32},
    {DType::kBF16, DType::kF32}};

TEST_F(ElementwiseCuda, NormsAgreeWithTheReference) {
  Random random(60);
  for (const int hidden : {1,    8,    40,   64,   127,  128,  132,  256,  260,   896,   1000,
                           1020, 1023, 1024, 2056, 3001, 4096, 5120, 8192, 12288, 16384, 16392}) {
    for (const auto [x_dtype, out_dtype] : kNormDTypes) {
      const int rows = random.between(1, 9);
      SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(hidden) + " " +
                   to_string(x_dtype) + " to " + to_string(out_dtype));
      // Every other time a part of wider rows, aligned or not.
      const int margin = random.between(0, 3) * random.between(0, 1) * random.between(1, 4);
      const Tensor wide =
          rounded(random.tensor(rows, hidden + 2 * margin, DType::kF32, 3.0F).view(), x_dtype);
      const Tensor device_wide = upload(wide.view(), x_dtype);
      const Tensor weight = random.vector(hidden);
      const Tensor bias = random.vector(hidden);
      const Tensor device_weight = upload(weight.view());
      const Tensor device_bias = upload(bias.view());
      const bool has_bias = random.between(0, 1) == 1;
      const TensorView x = wide.view().columns_view(margin, hidden);
      const TensorView device_x = device_wide.view().columns_view(margin, hidden);

      const Tensor expected({rows, hidden}, DType::kF32);
      const Tensor out = poisoned({rows, hidden}, out_dtype);
      const float offset = static_cast<float>(random.between(0, 1));
      reference_table().rms_norm(
          *host_stream,
          {.x = x, .weight = weight.view(), .out = expected.view(), .weight_offset = offset});
      table->rms_norm(*stream, {.x = device_x,
                                .weight = device_weight.view(),
                                .out = out.view(),
                                .weight_offset = offset});
      expect_close(out.view(), expected.view(), out_dtype);

      const Tensor out2 = poisoned({rows, hidden}, out_dtype);
      reference_table().layer_norm(*host_stream, {.x = x,
                                                  .weight = weight.view(),
                                                  .bias = has_bias ? bias.view() : TensorView(),
                                                  .out = expected.view()});
      table->layer_norm(*stream, {.x = device_x,
                                  .weight = device_weight.view(),
                                  .bias = has_bias ? device_bias.view() : TensorView(),
                                  .out = out2.view()});
      // A single element is its own mean: the result is the bias, maybe nothing.
      if (hidden > 1) expect_close(out2.view(), expected.view(), out_dtype);
    }
  }
}

TEST_F(ElementwiseCuda, NormsOfMoreRowsThanBlocks) {
  Random random(61);
  for (const int hidden : {64, 1024}) {
    const int rows = hidden == 64 ? 40001 : 3001;
    const Tensor x = rounded(random.tensor(rows, hidden).view(), DType::kBF16);
    const Tensor weight = random.vector(hidden);
    const Tensor device_x = upload(x.view(), DType::kBF16);
    const Tensor device_weight = upload(weight.view());
    const Tensor expected({rows, hidden}, DType::kF32);
    reference_table().rms_norm(*host_stream,
                               {.x = x.view(), .weight = weight.view(), .out = expected.view()});
    table->rms_norm(*stream, {.x = device_x.view(),
                              .weight = device_weight.view(),
                              .out = device_x.view()});  // in place
    expect_close(device_x.view(), expected.view(), DType::kBF16);
  }
}

TEST_F(ElementwiseCuda, HeadsAreNormalisedSeparatelyAndInPlace) {
  Random random(62);
  for (const DType dtype : kDTypes) {
    for (const int head_dim : {24, 64, 80, 128, 256}) {
      const int heads = 5;
      // Columns past the heads stay as they are.
      const Tensor x = rounded(random.tensor(7, heads * head_dim + 8).view(), dtype);
      const Tensor weight = random.vector(head_dim);
      const Tensor device_x = upload(x.view(), dtype);
      const Tensor device_weight = upload(weight.view());
      const auto heads_of = [&](const Tensor& tensor) {
        TensorView view = tensor.view();
        view.shape = {7, heads, head_dim};
        return view;
      };
      reference_table().rms_norm(*host_stream,
                                 {.x = heads_of(x), .weight = weight.view(), .out = heads_of(x)});
      table->rms_norm(
          *stream,
          {.x = heads_of(device_x), .weight = device_weight.view(), .out = heads_of(device_x)});
      expect_close(device_x.view(), x.view(), dtype);
    }
  }
}

TEST_F(ElementwiseCuda, ActivationsAgreeWithTheReference) {
  Random random(63);
  for (const Activation activation :
       {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh, Activation::kRelu}) {
    for (const DType dtype : kDTypes) {
      for (const int size : {1, 7, 64, 333, 1000, 1024, 4864}) {
        const int rows = random.between(1, 20);
        SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(size) + " " + to_string(dtype) +
                     " activation " + std::to_string(static_cast<int>(activation)));
        const Tensor x = rounded(random.tensor(rows, 2 * size, DType::kF32, 4.0F).view(), dtype);
        const Tensor device_x = upload(x.view(), dtype);
        const Tensor expected({rows, size}, DType::kF32);
        const Tensor out = poisoned({rows, size}, dtype);
        reference_table().gated_activation(
            *host_stream, {.x = x.view(), .out = expected.view(), .activation = activation});
        table->gated_activation(
            *stream, {.x = device_x.view(), .out = out.view(), .activation = activation});
        expect_close(out.view(), expected.view(), dtype);

        // In place, and only some of the columns.
        const TensorView half = x.view().columns_view(size, size);
        const TensorView device_half = device_x.view().columns_view(size, size);
        reference_table().activation(*host_stream,
                                     {.x = half, .out = half, .activation = activation});
        table->activation(*stream,
                          {.x = device_half, .out = device_half, .activation = activation});
        expect_close(device_x.view(), x.view(), dtype);
      }
    }
  }
}

TEST_F(ElementwiseCuda, ActivationsOfExtremeValues) {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = floats({inf, 1000.0F, -1000.0F, 80.0F, -80.0F, 0.0F, std::nanf(""), 1.0F});
  const TensorView row(x.view().data, {1, 8}, DType::kF32);
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const Activation activation : {Activation::kSilu, Activation::kGeluTanh}) {
      const Tensor out = upload(row, dtype);
      table->activation(*stream, {.x = out.view(), .out = out.view(), .activation = activation});
      const Tensor result = download(out.view());
      const float* y = result.view().as<float>();
      const float expected[] = {inf, 1000.0F, 0.0F, 80.0F, 0.0F, 0.0F};
      for (int i = 0; i < 6; ++i) {
        EXPECT_TRUE(y[i] == expected[i] || std::abs(y[i] - expected[i]) < 1e-30F) << y[i];
      }
      EXPECT_TRUE(std::isnan(y[6]));
    }
  }
}

TEST_F(ElementwiseCuda, SumsAndSoftcapAgreeWithTheReference) {
  Random random(64);
  for (const DType dtype : kDTypes) {
    for (const int size : {1, 8, 333, 4096}) {
      const Tensor x = rounded(random.tensor(9, size).view(), dtype);
      const Tensor sum = random.tensor(9, size);
      const Tensor device_x = upload(x.view(), dtype);
      const Tensor device_sum = upload(sum.view());
      reference_table().add(*host_stream, {.x = x.view(), .out = sum.view()});
      table->add(*stream, {.x = device_x.view(), .out = device_sum.view()});
      expect_same(device_sum.view(), sum.view());

      reference_table().softcap(*host_stream, {.x = sum.view(), .cap = 3.0F});
      table->softcap(*stream, {.x = device_sum.view(), .cap = 3.0F});
      expect_close(device_sum.view(), sum.view(), DType::kF32);
    }
  }
}

TEST_F(ElementwiseCuda, EmbeddingsAgreeWithTheReference) {
  Random random(65);
  for (const DType dtype : kDTypes) {
    for (const int hidden : {1, 31, 64, 1000, 4096}) {
      const Tensor host_table = random.tensor(50, hidden, dtype);
      const Tensor device_table = upload(host_table.view());
      const Tensor ids = indices({3, 49, 0, 3, 17});
      const Tensor device_ids = upload(ids.view());
      for (const bool accumulate : {false, true}) {
        const Tensor out = random.tensor(5, hidden);
        const Tensor device_out = upload(out.view());
        reference_table().embedding(*host_stream, {.ids = ids.view(),
                                                   .table = host_table.view(),
                                                   .out = out.view(),
                                                   .scale = 1.5F,
                                                   .accumulate = accumulate});
        table->embedding(*stream, {.ids = device_ids.view(),
                                   .table = device_table.view(),
                                   .out = device_out.view(),
                                   .scale = 1.5F,
                                   .accumulate = accumulate});
        expect_close(device_out.view(), out.view(), DType::kF32);
      }
    }
  }
}

TEST_F(ElementwiseCuda, AnIdThatIsNoTokenDisturbsNoOtherRow) {
  Random random(66);
  const Tensor host_table = random.tensor(50, 64);
  const Tensor device_table = upload(host_table.view());
  const Tensor device_ids = upload(indices({3, -1, 50, 7}).view());
  const Tensor out = poisoned({4, 64}, DType::kF32);
  table->embedding(*stream,
                   {.ids = device_ids.view(), .table = device_table.view(), .out = out.view()});
  expect_same(out.view().rows_view(0, 1), host_table.view().rows_view(3, 1));
  expect_same(out.view().rows_view(3, 1), host_table.view().rows_view(7, 1));
}

TEST_F(ElementwiseCuda, GathersTheRowsAsked) {
  Random random(67);
  const Tensor wanted = indices({6, 0, 6});
  const Tensor device_wanted = upload(wanted.view());
  for (const DType dtype : kDTypes) {
    for (const int hidden : {1, 45, 64, 2048}) {
      const Tensor x = random.tensor(7, hidden);
      const Tensor device_x = upload(x.view());
      const Tensor expected({3, hidden}, DType::kF32);
      const Tensor out = poisoned({3, hidden}, dtype);
      reference_table().gather_rows(
          *host_stream, {.x = x.view(), .indices = wanted.view(), .out = expected.view()});
      table->gather_rows(
          *stream, {.x = device_x.view(), .indices = device_wanted.view(), .out = out.view()});
      expect_same(out.view(), rounded(expected.view(), dtype).view());
    }
  }
}

struct RopeCase {
  int head_dim;
  int rotary_dim;
  bool interleaved;
};

std::vector<RopeCase> rope_cases() {
  std::vector<RopeCase> cases;
  for (const int head_dim : {8, 16, 64, 80, 96, 128, 192, 256}) {
    for (const int rotary_dim : {head_dim, head_dim / 2, head_dim / 4}) {
      for (const bool interleaved : {false, true}) {
        cases.push_back({head_dim, rotary_dim, interleaved});
      }
    }
  }
  return cases;
}

TEST_F(ElementwiseCuda, RopeAgreesWithTheReference) {
  Random random(68);
  for (const DType dtype : kDTypes) {
    for (const auto [head_dim, rotary_dim, interleaved] : rope_cases()) {
      for (const int margin : {0, 8, 3}) {
        SCOPED_TRACE(std::to_string(head_dim) + ", " + std::to_string(rotary_dim) + " rotated, " +
                     to_string(dtype) + ", margin " + std::to_string(margin));
        const int heads = random.between(1, 5);
        const Tensor cos_sin = random.tensor(40, rotary_dim);
        const Tensor positions = indices({0, 39, 7, 8, 9, 1});
        const Tensor x = rounded(random.tensor(6, heads * head_dim + margin + 8).view(), dtype);
        const Tensor device_cos_sin = upload(cos_sin.view());
        const Tensor device_positions = upload(positions.view());
        const Tensor device_x = upload(x.view(), dtype);
        RopeArgs args{.positions = positions.view(),
                      .cos_sin = cos_sin.view(),
                      .x = x.view().columns_view(margin, heads * head_dim),
                      .head_dim = head_dim,
                      .rotary_dim = rotary_dim,
                      .interleaved = interleaved};
        reference_table().rope(*host_stream, args);
        args.positions = device_positions.view();
        args.cos_sin = device_cos_sin.view();
        args.x = device_x.view().columns_view(margin, heads * head_dim);
        table->rope(*stream, args);
        expect_close(device_x.view(), x.view(), dtype);
      }
    }
  }
}

// A cache whose layers have a margin before and after them.
struct TestCache {
  static constexpr int kNumBlocks = 6;
  static constexpr int64_t kMargin = 64;  // bytes

  TestCache(int num_kv_heads, int head_dim, DType dtype, const Device& device)
      : view{.block_size = 16, .num_kv_heads = num_kv_heads, .head_dim = head_dim, .dtype = dtype} {
    const int64_t layer_bytes =
        2 * view.num_kv_heads * int64_t{view.block_size} * view.head_dim * size_of(view.dtype);
    view.layer_offset = kMargin;
    view.block_bytes = layer_bytes + 2 * kMargin;
    arena = Tensor({kNumBlocks * view.block_bytes / 4}, DType::kI32, device);
    view.arena = static_cast<std::byte*>(arena.view().data);
  }
  // Byte offset of a head's key (or value) in the arena.
  int64_t offset(int32_t slot, int head, bool is_value) const {
    const int64_t part = (is_value ? view.num_kv_heads : 0) + head;
    const int64_t row = part * view.block_size + slot % view.block_size;
    return slot / view.block_size * view.block_bytes + view.layer_offset +
           row * view.head_dim * size_of(view.dtype);
  }

  KVCacheView view;
  Tensor arena;
};

class KVWriteCuda : public ElementwiseCuda {
 protected:
  // The cache that holds `k` and `v` (host, f32) in `slots` and zeros elsewhere, within `bound`.
  void expect_cache(const TestCache& cache, const TensorView& k, const TensorView& v,
                    const std::vector<int32_t>& slots, double bound) {
    const Tensor bytes = download(cache.arena.view());
    const KVCacheView& shape = cache.view;
    Tensor expected(bytes.view().shape, DType::kI32);
    Tensor values({2, k.shape.num_elements()}, DType::kF32);
    Tensor results({2, k.shape.num_elements()}, DType::kF32);
    int64_t count = 0;
    for (size_t i = 0; i < slots.size(); ++i) {
      if (slots[i] < 0) continue;
      for (int column = 0; column < shape.num_kv_heads * shape.head_dim; ++column) {
        for (const bool is_value : {false, true}) {
          const int64_t offset = cache.offset(slots[i], column / shape.head_dim, is_value);
          const int64_t row = static_cast<int64_t>(i);
          values.view().as<float>()[count] = (is_value ? v : k).row<float>(row)[column];
          std::byte* element = bytes.view().as<std::byte>() + offset;
          results.view().as<float>()[count] =
              load_element(shape.dtype, element, column % shape.head_dim);
          store_element(shape.dtype, element, column % shape.head_dim, 0.0F);
          ++count;
        }
      }
    }
    EXPECT_LE(relative_error(results.view(), values.view()), bound);
    // Nothing else was written.
    EXPECT_EQ(std::memcmp(bytes.view().data, expected.view().data,
                          static_cast<size_t>(bytes.view().shape[0]) * 4),
              0);
  }
};

const std::vector<int32_t> kSlots = {17, 3, -1, 31, 0, 90, 16};

TEST_F(KVWriteCuda, StoresKeysAndValuesInTheirSlots) {
  Random random(69);
  for (const DType dtype : kDTypes) {
    for (const int head_dim : {8, 64, 80, 128, 256}) {
      for (const int margin : {0, 16, 1}) {
        const int heads = random.between(1, 4);
        const int width = heads * head_dim;
        TestCache cache(heads, head_dim, dtype, *table->device);
        const int64_t rows = static_cast<int64_t>(kSlots.size());
        const Tensor kv = rounded(random.tensor(rows, 2 * width + margin).view(), dtype);
        const Tensor device_kv = upload(kv.view(), dtype);
        const Tensor slots = upload(indices(kSlots).view());
        table->kv_cache_write(*stream, {.k = device_kv.view().columns_view(margin, width),
                                        .v = device_kv.view().columns_view(margin + width, width),
                                        .slot_mapping = slots.view(),
                                        .cache = cache.view});
        expect_cache(cache, kv.view().columns_view(margin, width),
                     kv.view().columns_view(margin + width, width), kSlots, 0.0);
      }
    }
  }
}

TEST_F(KVWriteCuda, FusedPassAgreesWithTheSeparateOnes) {
  Random random(70);
  const int64_t rows = static_cast<int64_t>(kSlots.size());
  const Tensor positions = indices({0, 39, 7, 8, 9, 1, 22});
  const Tensor device_positions = upload(positions.view());
  const Tensor slots = upload(indices(kSlots).view());
  for (const DType dtype : kDTypes) {
    for (const auto [head_dim, rotary_dim, interleaved] : rope_cases()) {
      SCOPED_TRACE(std::to_string(head_dim) + ", " + std::to_string(rotary_dim) + " rotated, " +
                   to_string(dtype));
      const bool has_norm = random.between(0, 1) == 1;
      const bool has_rope = random.between(0, 2) > 0;
      const int kv_heads = random.between(1, 3);
      const int kv_width = kv_heads * head_dim;
      const int q_width = kv_width * random.between(1, 4);
      const Tensor qkv = rounded(random.tensor(rows, q_width + 2 * kv_width).view(), dtype);
      const Tensor cos_sin = random.tensor(40, rotary_dim);
      const Tensor weights[] = {random.vector(head_dim), random.vector(head_dim)};
      const Tensor device_weights[] = {upload(weights[0].view()), upload(weights[1].view())};
      const Tensor device_qkv = upload(qkv.view(), dtype);
      const Tensor device_cos_sin = upload(cos_sin.view());
      TestCache cache(kv_heads, head_dim, dtype, *table->device);

      QkNormRopeKVWriteArgs args;
      args.rope = {.positions = device_positions.view(),
                   .cos_sin = has_rope ? device_cos_sin.view() : TensorView(),
                   .x = device_qkv.view().columns_view(0, q_width),
                   .head_dim = head_dim,
                   .rotary_dim = rotary_dim,
                   .interleaved = interleaved};
      if (has_norm) args.q_norm_weight = device_weights[0].view();
      if (has_norm) args.k_norm_weight = device_weights[1].view();
      args.norm_eps = 1e-5F;
      args.write = {.k = device_qkv.view().columns_view(q_width, kv_width),
                    .v = device_qkv.view().columns_view(q_width + kv_width, kv_width),
                    .slot_mapping = slots.view(),
                    .cache = cache.view};
      table->qk_norm_rope_kv_write(*stream, args);

      RopeArgs rope = args.rope;
      rope.positions = positions.view();
      rope.cos_sin = cos_sin.view();
      const Tensor k = copy(qkv.view().columns_view(q_width, kv_width));
      for (const bool is_key : {false, true}) {
        rope.x = is_key ? k.view() : qkv.view().columns_view(0, q_width);
        TensorView heads = rope.x;
        heads.shape = {rows, heads.shape[1] / head_dim, head_dim};
        const RmsNormArgs norm{
            .x = heads, .weight = weights[is_key ? 1 : 0].view(), .out = heads, .eps = 1e-5F};
        if (has_norm) reference_table().rms_norm(*host_stream, norm);
        if (has_rope) reference_table().rope(*host_stream, rope);
      }
      expect_close(device_qkv.view(), qkv.view(), dtype);  // k and v as they were
      const TensorView v = qkv.view().columns_view(q_width + kv_width, kv_width);
      expect_cache(cache, k.view(), v, kSlots, tolerance(dtype));
    }
  }
}

constexpr int64_t kManyElements = (int64_t{1} << 31) + (int64_t{1} << 24);

TEST_F(KVWriteCuda, ArenaOfMoreElementsThan31BitsCount) {
  constexpr int kBlockSize = 16;
  constexpr int kHeadDim = 128;
  constexpr int kHeads = 8;
  constexpr int64_t kBlockElements = 2 * kBlockSize * kHeadDim * kHeads;
  constexpr int64_t kNumBlocks = kManyElements / kBlockElements;
  if (table->device->memory_info().available_bytes < kManyElements * 2 + (int64_t{1} << 30)) {
    GTEST_SKIP() << "not enough memory";
  }
  Random random(71);
  const Tensor arena({kNumBlocks, kBlockElements}, DType::kBF16, *table->device);
  const Tensor k = random.tensor(1, kHeads * kHeadDim, DType::kBF16);
  const Tensor device_k = upload(k.view());
  const Tensor slots = upload(indices({static_cast<int32_t>(kNumBlocks * kBlockSize - 1)}).view());
  table->kv_cache_write(*stream, {.k = device_k.view(),
                                  .v = device_k.view(),
                                  .slot_mapping = slots.view(),
                                  .cache = {.arena = static_cast<std::byte*>(arena.view().data),
                                            .block_bytes = kBlockElements * 2,
                                            .block_size = kBlockSize,
                                            .num_kv_heads = kHeads,
                                            .head_dim = kHeadDim,
                                            .dtype = DType::kBF16}});
  const Tensor block = download(arena.view().rows_view(kNumBlocks - 1, 1));
  const Tensor expected = convert_to(k.view(), DType::kF32);
  for (int head = 0; head < 2 * kHeads; ++head) {  // of K, then of V
    const int64_t last_row = (head + 1) * int64_t{kBlockSize} - 1;
    EXPECT_EQ(std::memcmp(block.view().as<float>() + last_row * kHeadDim,
                          expected.view().as<float>() + head % kHeads * kHeadDim,
                          kHeadDim * sizeof(float)),
              0)
        << "head " << head;
  }
}

TEST_F(ElementwiseCuda, TableOfMoreElementsThan31BitsCount) {
  constexpr int64_t kHidden = 4096;
  constexpr int64_t kRows = kManyElements / kHidden;
  if (table->device->memory_info().available_bytes < kManyElements * 2 + (int64_t{1} << 30)) {
    GTEST_SKIP() << "not enough memory";
  }
  Random random(72);
  const Tensor large({kRows, kHidden}, DType::kBF16, *table->device);
  const Tensor row = random.tensor(1, kHidden, DType::kBF16);
  stream->copy(large.view().rows_view(kRows - 1, 1).data, row.view().data, kHidden * 2);
  const Tensor ids = upload(indices({0, static_cast<int32_t>(kRows - 1)}).view());
  const Tensor out = poisoned({2, kHidden}, DType::kF32);
  table->embedding(*stream, {.ids = ids.view(), .table = large.view(), .out = out.view()});
  expect_same(out.view().rows_view(0, 1), Tensor({1, kHidden}, DType::kF32).view());
  expect_same(out.view().rows_view(1, 1), convert_to(row.view(), DType::kF32).view());
}

}  // namespace
}  // namespace quire
