#include "kernels/lora_test_support.h"

namespace quire {
namespace {

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

// out + the adapters' additions.
Tensor add_adapters(const KernelTable& table, Stream& stream, const LoraTestShape& shape,
                    const LoraTestBatch& batch, const TensorView& x, const TensorView& out) {
  Tensor result = copy(out);
  const int64_t num_partials = 1 + shape.in_features % 4;
  Tensor sums(batch.sums_shape(shape, num_partials), DType::kF32);
  std::fill_n(sums.view().as<float>(), sums.view().shape.num_elements(), std::nanf(""));
  table.lora_add(stream, {.x = x,
                          .batch = &batch.batch,
                          .part_out_features = shape.out_features,
                          .sums = sums.view(),
                          .out = result.view()});
  return result;
}

struct Case {
  LoraTestShape shape;
  std::vector<std::vector<int>> ranks;
  std::vector<int> adapters;  // of each token
  int64_t out_size = 0;
};

Case random_case(Random& random, int i) {
  Case c;
  c.shape = {.dtype = kTypes[i % 3], .in_features = random.between(1, 1400), .out_features = {}};
  const int num_parts = random.between(1, 3);
  for (int p = 0; p < num_parts; ++p) {
    c.shape.out_features.push_back(random.between(1, 700));
    c.out_size += c.shape.out_features.back();
  }
  const int num_adapters = random.between(1, 5);
  for (int a = 0; a < num_adapters; ++a) {
    std::vector<int>& ranks = c.ranks.emplace_back();
    for (int p = 0; p < num_parts; ++p) ranks.push_back(random.between(0, i % 7 == 0 ? 80 : 17));
    ranks[0] = std::max(ranks[0], 1);
  }
  const int num_tokens = random.between(1, 60);
  for (int t = 0; t < num_tokens; ++t) c.adapters.push_back(random.between(-1, num_adapters - 1));
  return c;
}

TEST(Lora, EveryTableAgreesWithTheReference) {
  Random random(31);
  TestStream test;
  for (int i = 0; i < 60; ++i) {
    const Case c = random_case(random, i);
    SCOPED_TRACE("case " + std::to_string(i) + ", " + std::to_string(c.adapters.size()) +
                 " tokens, " + std::to_string(c.shape.in_features) + " features");
    const LoraTestArena arena(random, c.shape, c.ranks);
    const LoraTestBatch batch(arena, c.adapters);
    const auto num_tokens = static_cast<int64_t>(c.adapters.size());
    const Tensor x = random.tensor(num_tokens, c.shape.in_features);
    const Tensor out = random.tensor(num_tokens, c.out_size);
    const Tensor expected =
        add_adapters(reference_table(), test.stream, c.shape, batch, x.view(), out.view());
    for (const KernelTable* table : fast_tables()) {
      SCOPED_TRACE(table->name);
      const Tensor result = add_adapters(*table, test.stream, c.shape, batch, x.view(), out.view());
      expect_near(result.view(), expected.view(), 2e-4F);
    }
  }
}

TEST(Lora, TheReferenceIsTheProductOfTheMatrices) {
  Random random(32);
  TestStream test;
  const LoraTestShape shape{.dtype = DType::kF32, .in_features = 700, .out_features = {5}};
  const LoraTestArena arena(random, shape, {{3}});
  const LoraTestBatch batch(arena, {0});
  const Tensor x = random.tensor(1, 700);
  const Tensor out = random.tensor(1, 5);
  const Tensor result =
      add_adapters(reference_table(), test.stream, shape, batch, x.view(), out.view());
  const std::byte* base = arena.arena().data();
  const auto& part = *reinterpret_cast<const LoraPart*>(base + arena.parts(0));
  const auto* rows = reinterpret_cast<const LoraRow*>(base + part.rows);
  for (int o = 0; o < 5; ++o) {
    double sum = 0.0;
    for (int j = 0; j < 3; ++j) {
      const auto* a = reinterpret_cast<const float*>(base + rows[j].a);
      double projected = 0.0;
      for (int k = 0; k < 700; ++k) projected += double{a[k]} * x.view().as<float>()[k];
      sum += projected * reinterpret_cast<const float*>(base + rows[j].b)[o];
    }
    EXPECT_NEAR(result.view().as<float>()[o], out.view().as<float>()[o] + part.scale * sum, 1e-3);
  }
}

TEST(Lora, ATokenIsBitwiseTheSameWhateverTheBatchAndTheThreads) {
  Random random(33);
  TestStream one(1);
  TestStream four(4);
  for (int i = 0; i < 12; ++i) {
    const Case c = random_case(random, i);
    const LoraTestArena arena(random, c.shape, c.ranks);
    const LoraTestBatch batch(arena, c.adapters);
    const auto num_tokens = static_cast<int64_t>(c.adapters.size());
    const Tensor x = random.tensor(num_tokens, c.shape.in_features);
    const Tensor out = random.tensor(num_tokens, c.out_size);
    for (const KernelTable* table : all_tables()) {
      SCOPED_TRACE(table->name);
      const Tensor together =
          add_adapters(*table, four.stream, c.shape, batch, x.view(), out.view());
      for (int64_t t = 0; t < num_tokens; ++t) {
        const LoraTestBatch alone(arena, {c.adapters[static_cast<size_t>(t)]});
        const Tensor result = add_adapters(*table, one.stream, c.shape, alone,
                                           x.view().rows_view(t, 1), out.view().rows_view(t, 1));
        expect_same_bits(result.view(), together.view().rows_view(t, 1));
      }
    }
  }
}

}  // namespace
}  // namespace quire
