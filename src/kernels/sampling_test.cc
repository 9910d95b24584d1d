#include "kernels/sampling.h"

#include <algorithm>
#include <map>

#include "kernels/kernel_test_support.h"
#include "kernels/philox.h"

namespace quire {
namespace {

struct Settings {
  float temperature = 1.0F;
  int top_k = 0;
  float top_p = 1.0F;
  float min_p = 0.0F;
};

std::vector<int32_t> sample(const KernelTable& table, Stream& stream, const TensorView& logits,
                            const Settings& settings, uint64_t first_seed) {
  const auto rows = static_cast<size_t>(logits.rows());
  Tensor scratch = copy(logits);
  const Tensor temperature = floats(std::vector<float>(rows, settings.temperature));
  const Tensor top_k = indices(std::vector<int32_t>(rows, settings.top_k));
  const Tensor top_p = floats(std::vector<float>(rows, settings.top_p));
  const Tensor min_p = floats(std::vector<float>(rows, settings.min_p));
  std::vector<uint64_t> seeds(rows);
  std::vector<uint64_t> positions(rows);
  for (size_t i = 0; i < rows; ++i) {
    seeds[i] = first_seed + i;
    positions[i] = 1000 * i;
  }
  Tensor out({logits.rows()}, DType::kI32);
  poison(stream.workspace());
  table.sample(stream, {.logits = scratch.view(),
                        .temperature = temperature.view(),
                        .top_k = top_k.view(),
                        .top_p = top_p.view(),
                        .min_p = min_p.view(),
                        .seeds = seeds.data(),
                        .positions = positions.data(),
                        .out = out.view()});
  return {out.view().as<int32_t>(), out.view().as<int32_t>() + rows};
}

// Source: known-answer file of the Random123 distribution, philox4x32 10 rounds.
TEST(Philox, MatchesThePublishedVectors) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}));
  EXPECT_EQ(
      philox4x32({0xffffffffU, 0xffffffffU, 0xffffffffU, 0xffffffffU}, {0xffffffffU, 0xffffffffU}),
      (Words{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU}));
  EXPECT_EQ(
      philox4x32({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, {0xa4093822U, 0x299f31d0U}),
      (Words{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U}));
}

TEST(Sample, EveryTableDrawsTheTokensOfTheReference) {
  Random random(30);
  TestStream test;
  const std::vector<Settings> settings = {
      {.temperature = 0.0F},
      {.temperature = 1.0F},
      {.temperature = 0.3F},
      {.top_k = 1},
      {.top_k = 20},
      {.top_p = 0.7F},
      {.top_p = 0.01F},
      {.min_p = 0.1F},
      {.temperature = 1.7F, .top_k = 50, .top_p = 0.9F, .min_p = 0.02F},
      {.temperature = 0.8F, .top_k = 5000, .top_p = 0.5F}};
  for (int vocab : {1, 5, 511, 513, 3000}) {
    for (const Settings& s : settings) {
      const Tensor logits = random.tensor(16, vocab, DType::kF32, 3.0F);
      const auto expected = sample(reference_table(), test.stream, logits.view(), s, 77);
      for (const KernelTable* table : fast_tables()) {
        EXPECT_EQ(sample(*table, test.stream, logits.view(), s, 77), expected)
            << table->name << " vocab " << vocab << " temperature " << s.temperature << " top_k "
            << s.top_k << " top_p " << s.top_p << " min_p " << s.min_p;
      }
    }
  }
}

TEST(Sample, GreedyTakesTheSmallestIdAmongEquals) {
  TestStream test;
  Tensor logits({2, 100}, DType::kF32);
  logits.view().row<float>(0)[40] = logits.view().row<float>(0)[93] = 2.0F;
  for (const KernelTable* table : all_tables()) {
    EXPECT_EQ(sample(*table, test.stream, logits.view(), {.temperature = 0.0F}, 1),
              (std::vector<int32_t>{40, 0}))
        << table->name;
  }
}

TEST(Sample, ARowOfWhichNothingCanBeDrawnGivesMinusOneAndDisturbsNoOther) {
  TestStream test;
  const float inf = std::numeric_limits<float>::infinity();
  for (const KernelTable* table : all_tables()) {
    for (const float temperature : {0.0F, 1.0F}) {
      Tensor logits({4, 100}, DType::kF32);
      logits.view().row<float>(0)[50] = std::nanf("");
      std::fill_n(logits.view().row<float>(1), 100, -inf);
      logits.view().row<float>(2)[7] = inf;
      std::fill_n(logits.view().row<float>(3), 100, -inf);
      logits.view().row<float>(3)[9] = 1.0F;
      EXPECT_EQ(sample(*table, test.stream, logits.view(), {.temperature = temperature}, 4),
                (std::vector<int32_t>{-1, -1, -1, 9}))
          << table->name;
    }
  }
}

TEST(Sample, MaskedTokensAreNeverDrawn) {
  TestStream test;
  const float inf = std::numeric_limits<float>::infinity();
  Tensor logits({50, 64}, DType::kF32);
  for (int64_t row = 0; row < 50; ++row) {
    for (int64_t i = 0; i < 64; ++i) logits.view().row<float>(row)[i] = i % 8 == 3 ? 0.0F : -inf;
  }
  for (const KernelTable* table : all_tables()) {
    for (const Settings& s : std::vector<Settings>{{}, {.top_k = 20}, {.top_p = 0.9F}}) {
      for (const int32_t id : sample(*table, test.stream, logits.view(), s, 5)) {
        EXPECT_EQ(id % 8, 3) << table->name;
      }
    }
  }
}

TEST(Sample, FollowsTheDistribution) {
  TestStream test;
  const std::vector<float> probabilities = {0.5F, 0.25F, 0.15F, 0.07F, 0.03F};
  constexpr int kDraws = 20000;
  Tensor logits({kDraws, 5}, DType::kF32);
  for (int64_t row = 0; row < kDraws; ++row) {
    for (int64_t i = 0; i < 5; ++i) logits.view().row<float>(row)[i] = std::log(probabilities[i]);
  }
  for (const KernelTable* table : all_tables()) {
    std::map<int32_t, int> counts;
    for (const int32_t id : sample(*table, test.stream, logits.view(), {}, 9)) ++counts[id];
    for (int i = 0; i < 5; ++i) {
      const double p = probabilities[i];
      const double deviation = std::sqrt(p * (1 - p) / kDraws);
      EXPECT_NEAR(static_cast<double>(counts[i]) / kDraws, p, 5 * deviation) << table->name;
    }
  }
}

TEST(Sample, ARowDoesNotDependOnItsNeighbours) {
  Random random(31);
  TestStream test(3);
  const Tensor logits = random.tensor(9, 2000, DType::kF32, 2.0F);
  for (const KernelTable* table : all_tables()) {
    const Settings s{.temperature = 0.9F, .top_p = 0.95F};
    const auto all = sample(*table, test.stream, logits.view().rows_view(0, 9), s, 3);
    EXPECT_EQ(sample(*table, test.stream, logits.view().rows_view(0, 1), s, 3)[0], all[0]);
  }
}

TEST(Logprobs, EveryTableAgreesWithTheReference) {
  Random random(32);
  TestStream test;
  for (int vocab : {1, 17, 1000, 5000}) {
    constexpr int kRows = 6;
    const int max_top = std::min(vocab, 40);
    Tensor logits = random.tensor(kRows, vocab, DType::kF32, 4.0F);
    // Equal logits, so that ties are exercised.
    for (int64_t i = 0; i < vocab; i += 3) logits.view().row<float>(2)[i] = 1.25F;
    std::vector<int32_t> tokens;
    std::vector<int32_t> tops;
    for (int row = 0; row < kRows; ++row) {
      tokens.push_back(random.between(0, vocab - 1));
      tops.push_back(row == 0 ? 0 : random.between(0, max_top));
    }
    const Tensor token_ids = indices(tokens);
    const Tensor num_top = indices(tops);
    struct Result {
      Tensor logprob{{kRows}, DType::kF32}, rank{{kRows}, DType::kI32}, ids, values;
    };
    const auto run = [&](const KernelTable& table) {
      Result result;
      result.ids = Tensor({kRows, max_top}, DType::kI32);
      result.values = Tensor({kRows, max_top}, DType::kF32);
      table.logprobs(test.stream, {.logits = logits.view(),
                                   .token_ids = token_ids.view(),
                                   .num_top = num_top.view(),
                                   .max_top = max_top,
                                   .logprob = result.logprob.view(),
                                   .rank = result.rank.view(),
                                   .top_ids = result.ids.view(),
                                   .top_logprobs = result.values.view()});
      return result;
    };
    const Result expected = run(reference_table());
    for (const KernelTable* table : fast_tables()) {
      SCOPED_TRACE(std::string(table->name) + " vocab " + std::to_string(vocab));
      const Result result = run(*table);
      expect_near(result.logprob.view(), expected.logprob.view(), 2e-6F);
      expect_near(result.values.view(), expected.values.view(), 2e-6F);
      expect_same_bits(result.rank.view(), expected.rank.view());
      expect_same_bits(result.ids.view(), expected.ids.view());
    }
  }
}

}  // namespace
}  // namespace quire
