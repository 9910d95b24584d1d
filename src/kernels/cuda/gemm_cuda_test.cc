// Every kernel for matrix products against the reference.
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/cuda_test_support.h"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/cuda/gemm_tiled.h"

namespace quire {
namespace {

struct Case {
  int m = 1, n = 1, k = 1;
  DType dtype = DType::kBF16;
  DType out_dtype = DType::kF32;
  bool bias = false, accumulate = false;
  int padding = 8;  // elements between the rows of x and out, and before them
};

std::string describe(const Case& c) {
  return "M=" + std::to_string(c.m) + " N=" + std::to_string(c.n) + " K=" + std::to_string(c.k) +
         " " + to_string(c.dtype) + " to " + to_string(c.out_dtype) + (c.bias ? " bias" : "") +
         (c.accumulate ? " accumulate" : "") + " padding " + std::to_string(c.padding);
}

// Sums are in f32, so that mostly the type of the result decides.
double tolerance(const Case& c) {
  if (c.out_dtype == DType::kBF16) return 5e-3;
  if (c.out_dtype == DType::kF16) return 1e-3;
  return c.dtype == DType::kF32 ? 1e-5 : 1e-4;
}

class GemmTest : public CudaTest {
 protected:
  // The product by every kernel that takes it.
  void expect_agreement(const Case& c) {
    SCOPED_TRACE(describe(c));
    const Tensor x = random.tensor(c.m, c.k + c.padding);
    const Tensor weight = random.tensor(c.n, c.k, c.dtype);
    const Tensor bias = random.vector(c.n);
    const Tensor start = c.accumulate ? random.tensor(c.m, c.n + c.padding, c.out_dtype)
                                      : nans_of(c.m, c.n + c.padding, c.out_dtype);
    const Tensor expected = by_reference(c, x.view(), weight.view(), bias.view(), start.view());

    const Tensor device_x = upload(x.view(), c.dtype);
    const Tensor device_bias = upload(bias.view());
    const PackedWeight packed = table->pack_weight(*stream, {.weight = weight.view()});
    const auto run = [&](const char* name, auto gemm) {
      SCOPED_TRACE(name);
      const Tensor out = upload(start.view());
      const GemmArgs args{.x = device_x.view().columns_view(c.padding, c.k),
                          .weight = &packed,
                          .bias = c.bias ? device_bias.view() : TensorView(),
                          .out = out.view().columns_view(c.padding, c.n),
                          .accumulate = c.accumulate};
      if (!gemm(args)) return;
      const Tensor result = download(out.view());
      const Tensor product = copy(result.view().columns_view(c.padding, c.n));
      EXPECT_LT(relative_error(product.view(), expected.view()), tolerance(c));
      expect_same_padding(result.view(), convert_to(start.view(), DType::kF32).view(), c.padding);
    };
    run("cuda_gemm", [&](const GemmArgs& args) { return cuda_gemm(*stream, args), true; });
    run("few rows, sm_90a",
        [&](const GemmArgs& args) { return gemm_few_rows_sm90a(*stream, args); });
    run("few rows", [&](const GemmArgs& args) { return gemm_few_rows(*stream, args); });
    run("tiled", [&](const GemmArgs& args) { return gemm_tiled(*stream, args), true; });
    run("cuBLASLt", [&](GemmArgs args) {
      return !c.bias && cublaslt() != nullptr && cublaslt()->multiply(*stream, args);
    });
  }

  Tensor by_reference(const Case& c, const TensorView& x, const TensorView& weight,
                      const TensorView& bias, const TensorView& start) {
    const Tensor rounded_x = rounded(x, c.dtype);
    const Tensor all = convert_to(start, DType::kF32);
    Tensor out = copy(all.view().columns_view(c.padding, c.n));
    const PackedWeight packed = reference_table().pack_weight(*host_stream, {.weight = weight});
    reference_table().gemm(*host_stream, {.x = rounded_x.view().columns_view(c.padding, c.k),
                                          .weight = &packed,
                                          .bias = c.bias ? bias : TensorView(),
                                          .out = out.view(),
                                          .accumulate = c.accumulate});
    return out;
  }

  static Tensor nans_of(int64_t rows, int64_t columns, DType dtype) {
    return convert_to(nans(rows, columns).view(), dtype);
  }

  // Nothing is written left of the product.
  static void expect_same_padding(const TensorView& result, const TensorView& start, int padding) {
    for (int64_t i = 0; i < result.rows(); ++i) {
      for (int j = 0; j < padding; ++j) {
        const float before = start.row<float>(i)[j];
        const float after = result.row<float>(i)[j];
        ASSERT_TRUE(before == after || (std::isnan(before) && std::isnan(after)))
            << "row " << i << ", column " << j;
      }
    }
  }

  DType random_dtype() {
    return std::array{DType::kF32, DType::kF16, DType::kBF16}[random.between(0, 2)];
  }

  Random random{7};
};

TEST_F(GemmTest, FewRowsOfRandomShapes) {
  for (int i = 0; i < 80; ++i) {
    const DType dtype = random.between(0, 1) == 0 ? DType::kF16 : DType::kBF16;
    expect_agreement({.m = random.between(1, 64),
                      .n = random.between(1, 500),
                      .k = 8 * random.between(1, random.between(1, 300)),
                      .dtype = dtype,
                      .out_dtype = random.between(0, 1) == 0 ? dtype : DType::kF32,
                      .bias = random.between(0, 1) == 1,
                      .accumulate = random.between(0, 1) == 1,
                      .padding = 8 * random.between(0, 1)});
  }
}

// A choice made for one number of rows must not be used for another that it does not fit.
TEST_F(GemmTest, AnyNumberOfRowsAfterAnyOther) {
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const int m : {12, 1, 12, 5, 1, 3, 17, 2, 16, 33, 1, 64, 24}) {
      for (const bool accumulate : {false, true}) {
        expect_agreement({.m = m,
                          .n = 96,
                          .k = 48,
                          .dtype = dtype,
                          .out_dtype = accumulate ? DType::kF32 : dtype,
                          .accumulate = accumulate,
                          .padding = 0});
      }
    }
  }
}

TEST_F(GemmTest, AnyShapeTypeAndAlignment) {
  for (int i = 0; i < 60; ++i) {
    const DType dtype = random_dtype();
    expect_agreement({.m = random.between(1, random.between(1, 150)),
                      .n = random.between(1, 300),
                      .k = random.between(1, 300),
                      .dtype = dtype,
                      .out_dtype = random.between(0, 1) == 0 ? dtype : DType::kF32,
                      .bias = random.between(0, 1) == 1,
                      .accumulate = random.between(0, 1) == 1,
                      .padding = random.between(0, 9)});
  }
}

// Shapes that take every arrangement of clusters and warps on a GPU of 132 processors.
TEST_F(GemmTest, FewRowsOfLargeMatrices) {
  for (const Case& c : std::vector<Case>{{.m = 1, .n = 6144, .k = 1024},
                                         {.m = 1, .n = 4096, .k = 4096, .accumulate = true},
                                         {.m = 1, .n = 50257, .k = 768},
                                         {.m = 1, .n = 896, .k = 14336, .bias = true},
                                         {.m = 2, .n = 1024, .k = 14336, .accumulate = true},
                                         {.m = 3, .n = 9000, .k = 896, .out_dtype = DType::kBF16},
                                         {.m = 4, .n = 2064, .k = 4104, .bias = true},
                                         {.m = 5, .n = 4096, .k = 14336},
                                         {.m = 8, .n = 4096, .k = 4096, .accumulate = true},
                                         {.m = 9, .n = 3072, .k = 2048, .bias = true},
                                         {.m = 13, .n = 1000, .k = 12000},
                                         {.m = 16, .n = 4096, .k = 2048, .accumulate = true},
                                         {.m = 16, .n = 528, .k = 14336},
                                         {.m = 16, .n = 28672, .k = 256},
                                         {.m = 17, .n = 4096, .k = 1024},
                                         {.m = 25, .n = 6144, .k = 1024, .bias = true},
                                         {.m = 33, .n = 9000, .k = 520, .accumulate = true},
                                         {.m = 64, .n = 28672, .k = 1032},
                                         {.m = 64, .n = 33792, .k = 256, .out_dtype = DType::kBF16},
                                         {.m = 64, .n = 33793, .k = 256},
                                         {.m = 57, .n = 4096, .k = 14336, .accumulate = true},
                                         {.m = 32, .n = 2048, .k = 2048, .accumulate = true}}) {
    expect_agreement(c);
  }
}

TEST_F(GemmTest, EveryNumberOfFewRows) {
  for (int m = 1; m <= 65; ++m) {
    expect_agreement({.m = m, .n = 264, .k = 616, .bias = m % 3 == 0, .accumulate = m % 2 == 0});
  }
}

// Ends of tiles, of steps over K and of clusters' slices.
TEST_F(GemmTest, FewRowsOfSmallAndLongMatrices) {
  for (int m : {1, 5, 8, 9, 16, 17, 33, 64}) {
    for (int k : {64, 96, 192, 4096, 14336}) {
      expect_agreement({.m = m, .n = 8, .k = k, .dtype = DType::kF16});
      expect_agreement({.m = m, .n = 100, .k = k, .bias = true, .accumulate = true});
    }
    for (int k : {64, 96, 192}) {
      expect_agreement({.m = m, .n = 4120, .k = k, .out_dtype = DType::kBF16, .padding = 0});
    }
  }
  expect_agreement({.m = 9, .n = 4120, .k = 4096, .dtype = DType::kF16, .accumulate = true});
  expect_agreement({.m = 17, .n = 6144, .k = 2048, .out_dtype = DType::kBF16});
  expect_agreement({.m = 33, .n = 34000, .k = 128});
  expect_agreement({.m = 64, .n = 1032, .k = 14336, .bias = true});
}

TEST_F(GemmTest, GatedProductsOfRandomShapes) {
  for (int i = 0; i < 60; ++i) {
    const DType dtype = random.between(0, 1) == 0 ? DType::kF16 : DType::kBF16;
    const int m = random.between(1, random.between(1, 64));
    const int n = i % 10 == 9 ? random.between(2000, 9000) : random.between(1, 300);
    const int k = 8 * random.between(8, random.between(9, 200));
    const auto activation = static_cast<Activation>(random.between(0, 3));
    SCOPED_TRACE(describe({.m = m, .n = n, .k = k, .dtype = dtype, .out_dtype = dtype}));
    const Tensor x = random.tensor(m, k, dtype);
    const Tensor weight = random.tensor(2 * n, k, dtype, 0.05F);
    const Tensor bias = random.vector(2 * n);
    const bool has_bias = random.between(0, 1) == 1;

    const PackedWeight reference =
        reference_table().pack_weight(*host_stream, {.weight = weight.view()});
    const Tensor host_x = convert_to(x.view(), DType::kF32);
    Tensor gate_up = nans(m, 2 * n);
    Tensor expected = nans(m, n);
    reference_table().gemm(*host_stream, {.x = host_x.view(),
                                          .weight = &reference,
                                          .bias = has_bias ? bias.view() : TensorView(),
                                          .out = gate_up.view()});
    reference_table().gated_activation(
        *host_stream, {.x = gate_up.view(), .out = expected.view(), .activation = activation});

    const PackedWeight packed = table->pack_weight(*stream, {.weight = weight.view()});
    const Tensor device_x = upload(x.view());
    const Tensor device_bias = upload(bias.view());
    const Tensor out = poisoned({m, n}, dtype);
    if (!table->gated_gemm(*stream, {.x = device_x.view(),
                                     .weight = &packed,
                                     .bias = has_bias ? device_bias.view() : TensorView(),
                                     .out = out.view(),
                                     .activation = activation})) {
      continue;
    }
    EXPECT_LT(relative_error(download(out.view()).view(), expected.view()),
              dtype == DType::kBF16 ? 5e-3 : 1e-3);
  }
}

TEST_F(GemmTest, ChainsOfProductsInAGraph) {
  constexpr int kSize = 1024;
  constexpr int kLength = 24;
  for (int m : {1, 8, 16, 40}) {
    SCOPED_TRACE(m);
    const Tensor weight = random.tensor(kSize, kSize, DType::kBF16, 1.0F / 32.0F);
    const Tensor start = random.tensor(m, kSize, DType::kBF16);
    const PackedWeight packed = table->pack_weight(*stream, {.weight = weight.view()});
    const Tensor first = upload(start.view());
    std::vector<Tensor> results;
    for (int i = 0; i < kLength; ++i) results.push_back(poisoned({m, kSize}, DType::kBF16));
    const auto run = [&] {
      for (int i = 0; i < kLength; ++i) {
        cuda_gemm(*stream, {.x = i == 0 ? first.view() : results[i - 1].view(),
                            .weight = &packed,
                            .bias = {},
                            .out = results[i].view()});
      }
    };
    table->device->begin_capture(stream->queue());
    run();
    void* graph = table->device->end_capture(stream->queue());
    table->device->launch_graph(stream->queue(), graph);
    stream->synchronize();
    table->device->destroy_graph(graph);

    const PackedWeight reference =
        reference_table().pack_weight(*host_stream, {.weight = weight.view()});
    for (int i = 0; i < kLength; ++i) {
      const Tensor x =
          i == 0 ? convert_to(start.view(), DType::kF32) : download(results[i - 1].view());
      Tensor expected = nans(m, kSize);
      reference_table().gemm(
          *host_stream, {.x = x.view(), .weight = &reference, .bias = {}, .out = expected.view()});
      const Tensor result = download(results[i].view());
      EXPECT_LT(relative_error(result.view(), expected.view()), 5e-3) << "product " << i;
    }
  }
}

TEST_F(GemmTest, FewRowsAreTheSameBitsEachTime) {
  const Tensor weight = random.tensor(4096, 4096, DType::kBF16);
  const PackedWeight packed = table->pack_weight(*stream, {.weight = weight.view()});
  for (int m : {1, 8, 16, 33, 64}) {
    SCOPED_TRACE(m);
    const Tensor x = upload(random.tensor(m, 4096, DType::kBF16).view());
    const auto run = [&] {
      const Tensor out = poisoned({m, 4096}, DType::kF32);
      cuda_gemm(*stream, {.x = x.view(), .weight = &packed, .bias = {}, .out = out.view()});
      return download(out.view());
    };
    const Tensor first = run();
    for (int i = 0; i < 20; ++i) expect_same_bits(run().view(), first.view());
  }
}

// Products of different shapes, each of the last one's result, one by one and overlapping.
TEST_F(GemmTest, ReplayedChainsOfProductsAreTheSameBits) {
  constexpr int kLength = 30;
  constexpr int kReplays = 50;
  constexpr std::array<int, 3> kSizes{1024, 2560, 576};
  const auto size_of_result = [&](int i) { return kSizes[static_cast<size_t>(i) % kSizes.size()]; };
  for (int m : {1, 16, 64}) {
    SCOPED_TRACE(m);
    std::vector<PackedWeight> weights;
    std::vector<Tensor> results;
    results.push_back(upload(random.tensor(m, size_of_result(0), DType::kBF16).view()));
    for (int i = 0; i < kLength; ++i) {
      const int k = size_of_result(i);
      const float deviation = 1.0F / std::sqrt(static_cast<float>(k));
      const Tensor weight = random.tensor(size_of_result(i + 1), k, DType::kBF16, deviation);
      weights.push_back(table->pack_weight(*stream, {.weight = weight.view()}));
      results.push_back(poisoned({m, size_of_result(i + 1)}, DType::kBF16));
    }
    stream->synchronize();
    const auto multiply = [&](size_t i) {
      cuda_gemm(*stream, {.x = results[i].view(),
                          .weight = &weights[i],
                          .bias = {},
                          .out = results[i + 1].view()});
    };
    for (size_t i = 0; i < kLength; ++i) {
      multiply(i);
      stream->synchronize();
    }
    const Tensor expected = download(results.back().view());
    table->device->begin_capture(stream->queue());
    for (size_t i = 0; i < kLength; ++i) multiply(i);
    void* graph = table->device->end_capture(stream->queue());
    for (int i = 0; i < kReplays; ++i) {
      table->device->launch_graph(stream->queue(), graph);
      expect_same_bits(download(results.back().view()).view(), expected.view());
    }
    table->device->destroy_graph(graph);
  }
}

TEST_F(GemmTest, AcceptsNoRows) {
  const Tensor weight = random.tensor(8, 8);
  const PackedWeight packed = table->pack_weight(*stream, {.weight = weight.view()});
  const TensorView none(nullptr, {0, 8}, DType::kF32);
  cuda_gemm(*stream, {.x = none, .weight = &packed, .bias = {}, .out = none});
}

// Weights smaller and larger than the staging buffers (32 MiB), with and without gaps.
TEST_F(GemmTest, PartsArePackedOneBelowTheOther) {
  const Tensor parts[] = {random.tensor(40, 24, DType::kBF16), random.tensor(8, 24, DType::kBF16),
                          random.tensor(16, 24, DType::kBF16)};
  const TensorView more[] = {parts[1].view(), parts[2].view()};
  const PackedWeight packed =
      table->pack_weight(*stream, {.weight = parts[0].view(), .more = more});
  ASSERT_EQ(packed.out_features, 64);
  const Tensor all = download(TensorView(packed.data.data(), {64, 24}, DType::kBF16));
  int64_t begin = 0;
  for (const Tensor& part : parts) {
    expect_same_bits(all.view().rows_view(begin, part.view().rows()),
                     convert_to(part.view(), DType::kF32).view());
    begin += part.view().rows();
  }
}

TEST_F(GemmTest, PackedWeightsAreCopiesOfTheCheckpoint) {
  std::vector<Tensor> hosts;
  std::vector<PackedWeight> packed;
  for (const auto& [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
           {3, 5}, {1, 1}, {9001, 4099}, {700, 333}, {20011, 3000}, {17, 1000}}) {
    hosts.push_back(random.tensor(rows, columns + 3, DType::kBF16));
    packed.push_back(table->pack_weight(*stream, {.weight = hosts.back().view()}));
    packed.push_back(
        table->pack_weight(*stream, {.weight = hosts.back().view().columns_view(2, columns)}));
  }
  for (size_t i = 0; i < packed.size(); ++i) {
    SCOPED_TRACE(i);
    const TensorView host = hosts[i / 2].view();
    const int64_t skipped = i % 2 == 0 ? 0 : 2;
    Tensor copied({packed[i].out_features, packed[i].in_features}, DType::kBF16);
    const int64_t row_bytes = packed[i].in_features * size_of(DType::kBF16);
    stream->copy(copied.view().data, packed[i].data.data(), packed[i].out_features * row_bytes);
    stream->synchronize();
    for (int64_t row = 0; row < packed[i].out_features; ++row) {
      ASSERT_EQ(std::memcmp(copied.view().row<uint16_t>(row), host.row<uint16_t>(row) + skipped,
                            static_cast<size_t>(row_bytes)),
                0)
          << "row " << row;
    }
  }
}

}  // namespace
}  // namespace quire
