#include <numbers>

#include "kernels/kernel_test_support.h"

namespace quire {
namespace {

constexpr Activation kActivations[] = {Activation::kSilu, Activation::kGelu, Activation::kGeluTanh,
                                       Activation::kRelu};

// Runs `body(table, out)` for every table on a copy of `start` and compares with the reference.
template <typename Body>
void compare_tables(const TensorView& start, float tolerance, const Body& body) {
  Tensor expected = copy(start);
  body(reference_table(), expected.view());
  for (const KernelTable* table : fast_tables()) {
    SCOPED_TRACE(table->name);
    Tensor out = copy(start);
    body(*table, out.view());
    expect_near(out.view(), expected.view(), tolerance);
  }
}

TEST(Norm, EveryTableAgreesWithTheReference) {
  Random random(10);
  TestStream test;
  for (int i = 0; i < 40; ++i) {
    const int rows = random.between(1, 20);
    const int hidden = random.between(1, 1500);
    SCOPED_TRACE(std::to_string(rows) + " x " + std::to_string(hidden));
    const Tensor x = random.tensor(rows, hidden + 4, DType::kF32, 3.0F);
    const Tensor weight = random.vector(hidden);
    const Tensor bias = random.vector(hidden);
    const TensorView from = x.view().columns_view(3, hidden);
    const Tensor start({rows, hidden}, DType::kF32);
    const float offset = i % 2 == 0 ? 0.0F : 1.0F;
    compare_tables(start.view(), 3e-6F, [&](const KernelTable& table, const TensorView& out) {
      table.rms_norm(test.stream,
                     {.x = from, .weight = weight.view(), .out = out, .weight_offset = offset});
    });
    compare_tables(start.view(), 1e-5F, [&](const KernelTable& table, const TensorView& out) {
      const TensorView shift = i % 3 == 0 ? TensorView() : bias.view();
      table.layer_norm(test.stream,
                       {.x = from, .weight = weight.view(), .bias = shift, .out = out});
    });
  }
}

TEST(Norm, HeadsAreNormalisedSeparatelyAndInPlace) {
  Random random(11);
  TestStream test;
  const Tensor x = random.tensor(5, 4 * 24 + 7);
  const Tensor weight = random.vector(24);
  compare_tables(x.view(), 3e-6F, [&](const KernelTable& table, const TensorView& out) {
    TensorView heads = out;
    heads.shape = {5, 4, 24};
    table.rms_norm(test.stream, {.x = heads, .weight = weight.view(), .out = heads});
  });
}

TEST(Activation, EveryTableAgreesWithTheReference) {
  Random random(12);
  TestStream test;
  for (const Activation activation : kActivations) {
    for (int i = 0; i < 10; ++i) {
      const int rows = random.between(1, 30);
      const int size = random.between(1, 700);
      const Tensor x = random.tensor(rows, 2 * size, DType::kF32, 4.0F);
      const Tensor start({rows, size}, DType::kF32);
      compare_tables(start.view(), 1e-6F, [&](const KernelTable& table, const TensorView& out) {
        table.gated_activation(test.stream, {.x = x.view(), .out = out, .activation = activation});
      });
      compare_tables(x.view(), 1e-6F, [&](const KernelTable& table, const TensorView& out) {
        table.activation(test.stream, {.x = out, .out = out, .activation = activation});
      });
    }
  }
}

TEST(Activation, IsRelativelyAccurateOverTheWholeRange) {
  TestStream test;
  constexpr int kCount = 40000;
  Tensor x({1, kCount}, DType::kF32);
  for (int i = 0; i < kCount; ++i) {
    x.view().as<float>()[i] = (static_cast<float>(i) - kCount / 2) * (12.0F / kCount);
  }
  const auto exact = [](Activation activation, double value) {
    if (activation == Activation::kSilu) return value / (1 + std::exp(-value));
    if (activation == Activation::kGelu)
      return 0.5 * value * std::erfc(-value / std::numbers::sqrt2);
    if (activation == Activation::kRelu) return std::max(value, 0.0);
    const double u = std::sqrt(2 / std::numbers::pi) * (value + 0.044715 * value * value * value);
    return value / (1 + std::exp(-2 * u));
  };
  for (const KernelTable* table : fast_tables()) {
    for (const Activation activation : kActivations) {
      Tensor out({1, kCount}, DType::kF32);
      table->activation(test.stream, {.x = x.view(), .out = out.view(), .activation = activation});
      for (int i = 0; i < kCount; ++i) {
        const double value = x.view().as<float>()[i];
        const double want = exact(activation, value);
        // A rounding of the argument of exp is magnified by its size, at most 100 here.
        ASSERT_NEAR(out.view().as<float>()[i], want, 1e-5 * std::abs(want) + 1e-37)
            << table->name << " activation " << static_cast<int>(activation) << " of " << value;
      }
    }
  }
}

TEST(Activation, InfinitiesAndNaNs) {
  TestStream test;
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = floats({inf, 1000.0F, -1000.0F, std::nanf("")});
  TensorView row = x.view();
  row = TensorView(row.data, {1, 4}, DType::kF32);
  for (const KernelTable* table : all_tables()) {
    Tensor out({1, 4}, DType::kF32);
    table->activation(test.stream, {.x = row, .out = out.view(), .activation = Activation::kSilu});
    const float* y = out.view().as<float>();
    EXPECT_EQ(y[0], inf) << table->name;
    EXPECT_EQ(y[1], 1000.0F) << table->name;
    EXPECT_EQ(y[2], 0.0F) << table->name;
    EXPECT_TRUE(std::isnan(y[3])) << table->name;
  }
}

TEST(Softcap, EveryTableAgreesWithTheReference) {
  Random random(13);
  TestStream test;
  for (float deviation : {0.1F, 10.0F, 200.0F}) {
    const Tensor x = random.tensor(9, 333, DType::kF32, deviation);
    compare_tables(x.view(), 1e-6F, [&](const KernelTable& table, const TensorView& out) {
      table.softcap(test.stream, {.x = out, .cap = 30.0F});
    });
  }
}

TEST(Add, EveryTableAgreesWithTheReference) {
  Random random(14);
  TestStream test;
  const Tensor x = random.tensor(9, 333);
  const Tensor start = random.tensor(9, 333);
  compare_tables(start.view(), 0.0F, [&](const KernelTable& table, const TensorView& out) {
    table.add(test.stream, {.x = x.view(), .out = out});
  });
}

TEST(Embedding, EveryTableAgreesWithTheReference) {
  Random random(15);
  TestStream test;
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (int hidden : {1, 31, 64, 1000}) {
      const Tensor table_tensor = random.tensor(50, hidden, dtype);
      const Tensor ids = indices({3, 49, 0, 3, 17});
      const Tensor start = random.tensor(5, hidden);
      for (bool accumulate : {false, true}) {
        compare_tables(start.view(), 1e-6F, [&](const KernelTable& table, const TensorView& out) {
          table.embedding(test.stream, {.ids = ids.view(),
                                        .table = table_tensor.view(),
                                        .out = out,
                                        .scale = 1.5F,
                                        .accumulate = accumulate});
        });
      }
    }
  }
}

TEST(GatherRows, CopiesTheRowsAsked) {
  Random random(16);
  TestStream test;
  const Tensor x = random.tensor(7, 45);
  const Tensor wanted = indices({6, 0, 6});
  for (const KernelTable* table : all_tables()) {
    Tensor out({3, 45}, DType::kF32);
    table->gather_rows(test.stream, {.x = x.view(), .indices = wanted.view(), .out = out.view()});
    expect_same_bits(out.view().rows_view(0, 1), x.view().rows_view(6, 1));
    expect_same_bits(out.view().rows_view(1, 1), x.view().rows_view(0, 1));
    expect_same_bits(out.view().rows_view(2, 1), x.view().rows_view(6, 1));
  }
}

TEST(Rope, EveryTableAgreesWithTheReference) {
  Random random(17);
  TestStream test;
  for (int head_dim : {16, 64, 80, 96, 128}) {
    for (int rotary_dim : {head_dim, head_dim / 2, head_dim / 4}) {
      for (bool interleaved : {false, true}) {
        const Tensor cos_sin = random.tensor(40, rotary_dim);
        const Tensor positions = indices({0, 39, 7, 8, 9, 1});
        const Tensor x = random.tensor(6, 3 * head_dim + 8);
        compare_tables(x.view(), 1e-6F, [&](const KernelTable& table, const TensorView& out) {
          table.rope(test.stream, {.positions = positions.view(),
                                   .cos_sin = cos_sin.view(),
                                   .x = out.columns_view(4, 3 * head_dim),
                                   .head_dim = head_dim,
                                   .rotary_dim = rotary_dim,
                                   .interleaved = interleaved});
        });
      }
    }
  }
}

TEST(Elementwise, ARowIsBitwiseTheSameAlone) {
  Random random(18);
  TestStream test(3);
  const Tensor x = random.tensor(64, 1030);
  const Tensor weight = random.vector(1030);
  for (const KernelTable* table : fast_tables()) {
    Tensor all({64, 1030}, DType::kF32);
    table->rms_norm(test.stream, {.x = x.view(), .weight = weight.view(), .out = all.view()});
    table->activation(test.stream, {.x = all.view(), .out = all.view()});
    for (int64_t row : {0, 31, 63}) {
      Tensor one({1, 1030}, DType::kF32);
      table->rms_norm(
          test.stream,
          {.x = x.view().rows_view(row, 1), .weight = weight.view(), .out = one.view()});
      table->activation(test.stream, {.x = one.view(), .out = one.view()});
      expect_same_bits(one.view(), all.view().rows_view(row, 1));
    }
  }
}

}  // namespace
}  // namespace quire
