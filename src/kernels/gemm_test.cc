#include "kernels/gemm.h"

#include "kernels/kernel_test_support.h"

namespace quire {
namespace {

struct Case {
  int m, n, k;
  DType dtype;
  bool bias, accumulate;
};

std::string describe(const KernelTable& table, const Case& c) {
  return std::string(table.name) + " M=" + std::to_string(c.m) + " N=" + std::to_string(c.n) +
         " K=" + std::to_string(c.k) + " " + to_string(c.dtype) + (c.bias ? " bias" : "") +
         (c.accumulate ? " accumulate" : "");
}

std::vector<Case> random_cases(Random& random, int count) {
  std::vector<Case> cases;
  for (int i = 0; i < count; ++i) {
    for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      cases.push_back({.m = random.between(1, random.between(1, 70)),
                       .n = random.between(1, 150),
                       .k = random.between(1, 300),
                       .dtype = dtype,
                       .bias = random.between(0, 1) == 1,
                       .accumulate = random.between(0, 1) == 1});
    }
  }
  return cases;
}

// The tolerance on sums of k products of standard normal numbers; a fast table may round the
// activations to the type of a bf16 weight.
float tolerance(const Case& c) {
  const float root = std::sqrt(static_cast<float>(c.k));
  return c.dtype == DType::kBF16 ? 0.012F * root : 4e-6F * root;
}

TEST(Gemm, EveryTableAgreesWithTheReference) {
  Random random(1);
  TestStream test;
  std::vector<Case> cases = random_cases(random, 25);
  cases.push_back(
      {.m = 30, .n = 40, .k = 5000, .dtype = DType::kBF16, .bias = true, .accumulate = true});
  cases.push_back(
      {.m = 30, .n = 40, .k = 3001, .dtype = DType::kF32, .bias = true, .accumulate = true});
  cases.push_back(
      {.m = 600, .n = 33, .k = 65, .dtype = DType::kBF16, .bias = false, .accumulate = false});
  cases.push_back(
      {.m = 217, .n = 320, .k = 2048, .dtype = DType::kBF16, .bias = false, .accumulate = true});
  for (const Case& c : cases) {
    // Rows of x, out and the weight are strided.
    const Tensor x = random.tensor(c.m, c.k + 3);
    const Tensor weight = random.tensor(c.n, c.k + 5, c.dtype);
    const Tensor bias = random.vector(c.n);
    const Tensor start = c.accumulate ? random.tensor(c.m, c.n + 2) : nans(c.m, c.n + 2);
    const auto run = [&](const KernelTable& table) {
      Tensor out = copy(start.view());
      const PackedWeight packed =
          table.pack_weight(test.stream, {.weight = weight.view().columns_view(1, c.k)});
      poison(test.stream.workspace());
      table.gemm(test.stream, {.x = x.view().columns_view(2, c.k),
                               .weight = &packed,
                               .bias = c.bias ? bias.view() : TensorView(),
                               .out = out.view().columns_view(1, c.n),
                               .accumulate = c.accumulate});
      return out;
    };
    const Tensor expected = run(reference_table());
    for (const KernelTable* table : fast_tables()) {
      SCOPED_TRACE(describe(*table, c));
      const Tensor out = run(*table);
      expect_near(out.view().columns_view(1, c.n), expected.view().columns_view(1, c.n),
                  tolerance(c));
    }
  }
}

TEST(Gemm, ARowIsBitwiseTheSameWhateverTheBatchAndTheThreads) {
  Random random(2);
  TestStream one(1);
  TestStream three(3);
  for (const Case& c : std::vector<Case>{{600, 70, 130, DType::kBF16, true, false},
                                         {61, 97, 4500, DType::kBF16, false, true},
                                         {40, 64, 2500, DType::kF32, true, true},
                                         {37, 33, 5000, DType::kF16, false, false},
                                         {7, 33, 31, DType::kBF16, true, true}}) {
    const Tensor x = random.tensor(c.m, c.k);
    const Tensor weight = random.tensor(c.n, c.k, c.dtype);
    const Tensor bias = random.vector(c.n);
    for (const KernelTable* table : fast_tables()) {
      SCOPED_TRACE(describe(*table, c));
      const PackedWeight packed = table->pack_weight(one.stream, {.weight = weight.view()});
      const auto run = [&](TestStream& test, int64_t first, int64_t count) {
        Tensor out = c.accumulate ? Tensor({count, c.n}, DType::kF32) : nans(count, c.n);
        poison(test.stream.workspace());
        table->gemm(test.stream, {.x = x.view().rows_view(first, count),
                                  .weight = &packed,
                                  .bias = c.bias ? bias.view() : TensorView(),
                                  .out = out.view(),
                                  .accumulate = c.accumulate});
        return out;
      };
      const Tensor all = run(one, 0, c.m);
      expect_same_bits(run(three, 0, c.m).view(), all.view());
      for (int i = 0; i < 12; ++i) {
        const int count = random.between(1, std::min(c.m, i < 6 ? 1 : 30));
        const int first = random.between(0, c.m - count);
        expect_same_bits(run(three, first, count).view(), all.view().rows_view(first, count));
      }
    }
  }
}

TEST(Gemm, AcceptsNoRows) {
  Random random(3);
  TestStream test;
  const Tensor weight = random.tensor(8, 8);
  TensorView none(nullptr, {0, 8}, DType::kF32);
  for (const KernelTable* table : all_tables()) {
    const PackedWeight packed = table->pack_weight(test.stream, {.weight = weight.view()});
    table->gemm(test.stream, {.x = none, .weight = &packed, .bias = {}, .out = none});
  }
}

}  // namespace
}  // namespace quire
