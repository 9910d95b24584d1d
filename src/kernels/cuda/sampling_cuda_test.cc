// Sampling and log-probabilities against the reference.
#include <map>

#include "kernels/cuda/cuda_test_support.h"

namespace quire {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Settings {
  float temperature = 1.0F;
  int top_k = 0;
  float top_p = 1.0F;
  float min_p = 0.0F;
};

const std::vector<Settings> kMixedSettings = {
    {.temperature = 0.0F},
    {.temperature = 1.0F},
    {.temperature = 0.3F},
    {.temperature = 3.0F},
    {.top_k = 1},
    {.top_k = 20},
    {.top_p = 0.7F},
    {.top_p = 0.01F},
    {.temperature = 0.5F, .top_p = 0.95F},
    {.min_p = 0.1F},
    {.temperature = 1.5F, .min_p = 0.001F},
    {.temperature = 1.7F, .top_k = 50, .top_p = 0.9F, .min_p = 0.02F},
    {.temperature = 0.8F, .top_k = 5000, .top_p = 0.5F},
    {.temperature = 0.8F, .top_k = 300, .top_p = 0.99F},
    {.top_p = 0.8F, .min_p = 0.05F},
    {.temperature = 2.0F, .top_k = 3000, .min_p = 0.0001F}};

class SampleCuda : public CudaTest {
 protected:
  // Row i has settings[i % size], seed first_seed + i and position 1000 * i.
  struct Batch {
    Tensor temperature, top_k, top_p, min_p, seeds, positions;
  };
  static Batch batch_of(int64_t rows, const std::vector<Settings>& settings, uint64_t first_seed) {
    Batch batch{.temperature = Tensor({rows}, DType::kF32),
                .top_k = Tensor({rows}, DType::kI32),
                .top_p = Tensor({rows}, DType::kF32),
                .min_p = Tensor({rows}, DType::kF32),
                .seeds = Tensor({rows, 2}, DType::kI32),
                .positions = Tensor({rows, 2}, DType::kI32)};
    for (int64_t i = 0; i < rows; ++i) {
      const Settings& row = settings[static_cast<size_t>(i) % settings.size()];
      batch.temperature.view().as<float>()[i] = row.temperature;
      batch.top_k.view().as<int32_t>()[i] = row.top_k;
      batch.top_p.view().as<float>()[i] = row.top_p;
      batch.min_p.view().as<float>()[i] = row.min_p;
      batch.seeds.view().as<uint64_t>()[i] = first_seed + static_cast<uint64_t>(i);
      batch.positions.view().as<uint64_t>()[i] = static_cast<uint64_t>(i) * 1000;
    }
    return batch;
  }
  static SampleArgs args_of(const TensorView& logits, const Batch& batch, const TensorView& out) {
    return {.logits = logits,
            .temperature = batch.temperature.view(),
            .top_k = batch.top_k.view(),
            .top_p = batch.top_p.view(),
            .min_p = batch.min_p.view(),
            .seeds = batch.seeds.view().as<const uint64_t>(),
            .positions = batch.positions.view().as<const uint64_t>(),
            .out = out};
  }
  static std::vector<int32_t> tokens(const Tensor& out) {
    return {out.view().as<int32_t>(), out.view().as<int32_t>() + out.view().rows()};
  }

  std::vector<int32_t> expected(const TensorView& logits, const std::vector<Settings>& settings,
                                uint64_t first_seed) {
    const Tensor scratch = copy(logits);
    const Tensor out({logits.rows()}, DType::kI32);
    const Batch batch = batch_of(logits.rows(), settings, first_seed);
    reference_table().sample(*host_stream, args_of(scratch.view(), batch, out.view()));
    return tokens(out);
  }
  // `margin`: columns before and after the logits in memory.
  std::vector<int32_t> sample(const TensorView& logits, const std::vector<Settings>& settings,
                              uint64_t first_seed, int margin = 0) {
    const int64_t rows = logits.rows();
    const int64_t vocab = logits.shape[1];
    Tensor wide({rows, vocab + 2 * margin}, DType::kF32);
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(logits.row<float>(i), vocab, wide.view().row<float>(i) + margin);
    }
    const Tensor device_logits = upload(wide.view());
    const Batch host = batch_of(rows, settings, first_seed);
    const Batch batch{.temperature = upload(host.temperature.view()),
                      .top_k = upload(host.top_k.view()),
                      .top_p = upload(host.top_p.view()),
                      .min_p = upload(host.min_p.view()),
                      .seeds = upload(host.seeds.view()),
                      .positions = upload(host.positions.view())};
    const Tensor out = poisoned({rows}, DType::kI32);
    table->sample(*stream,
                  args_of(device_logits.view().columns_view(margin, vocab), batch, out.view()));
    return tokens(download(out.view()));
  }

  // Rows whose results differ: the sums and logarithms are rounded differently, so a few may.
  static int num_different(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
    int count = 0;
    for (size_t i = 0; i < a.size(); ++i) count += a[i] != b[i] ? 1 : 0;
    return count;
  }
};

TEST_F(SampleCuda, DrawsTheTokensOfTheReference) {
  Random random(80);
  int num_draws = 0;
  int num_wrong = 0;
  for (const int vocab :
       {1, 2, 5, 31, 128, 511, 513, 3000, 4095, 4096, 4097, 32000, 50257, 128256, 152064}) {
    const int rows = vocab < 5000 ? 320 : 32;
    for (const float deviation : {0.3F, 3.0F}) {
      const Tensor logits = random.tensor(rows, vocab, DType::kF32, deviation);
      const auto want = expected(logits.view(), kMixedSettings, 77);
      for (const int margin : {0, 4, 1}) {
        const auto got = sample(logits.view(), kMixedSettings, 77, margin);
        const int different = num_different(got, want);
        EXPECT_LE(different, 1 + rows / 100) << "vocab " << vocab << " deviation " << deviation;
        num_draws += rows;
        num_wrong += different;
      }
    }
  }
  EXPECT_LE(num_wrong, num_draws / 1000) << "of " << num_draws;
}

// Peaked as the logits of a language model: a few likely tokens over a long tail.
TEST_F(SampleCuda, DrawsTheTokensOfTheReferenceFromPeakedRows) {
  Random random(81);
  const int rows = 64;
  Tensor logits = random.tensor(rows, 128256, DType::kF32, 2.0F);
  for (int64_t row = 0; row < rows; ++row) {
    for (int i = 0; i < 40; ++i) {
      logits.view().row<float>(row)[random.between(0, 128255)] = 12.0F + random.normal(2.0F);
    }
  }
  const auto want = expected(logits.view(), kMixedSettings, 5);
  EXPECT_LE(num_different(sample(logits.view(), kMixedSettings, 5), want), 1);
}

// How many blocks share a row depends on how many rows there are.
TEST_F(SampleCuda, IsTheSameEveryTimeAndWhateverTheOtherRows) {
  Random random(82);
  const Tensor logits = random.tensor(300, 12003, DType::kF32, 1.0F);
  for (const Settings& settings : kMixedSettings) {
    const auto all = sample(logits.view(), {settings}, 3);
    EXPECT_EQ(sample(logits.view(), {settings}, 3), all);
    for (const int rows : {1, 33, 60, 130}) {
      const auto some = sample(logits.view().rows_view(0, rows), {settings}, 3);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin())) << rows << " rows";
    }
  }
}

// Too many likely tokens for a list, by each of the filters and by all.
TEST_F(SampleCuda, DrawsTheTokensOfTheReferenceFromFlatRows) {
  Random random(84);
  const std::vector<Settings> settings = {
      {.top_p = 0.95F},
      {.temperature = 0.8F, .top_p = 0.5F},
      {.temperature = 5.0F, .top_p = 0.9999F},
      {.top_k = 20000},
      {.top_k = 9000, .top_p = 0.9F},
      {.min_p = 1e-4F},
      {.temperature = 2.0F, .top_p = 0.8F, .min_p = 0.001F},
      {.temperature = 3.0F, .top_k = 30000, .top_p = 0.9F, .min_p = 0.001F}};
  for (const float deviation : {0.01F, 0.2F, 1.0F, 2.5F}) {
    const Tensor logits = random.tensor(24, 128256, DType::kF32, deviation);
    const auto want = expected(logits.view(), settings, 6);
    const auto got = sample(logits.view(), settings, 6);
    EXPECT_LE(num_different(got, want), 1) << "deviation " << deviation;
  }
}

TEST_F(SampleCuda, EqualLogitsGoByTheirIds) {
  constexpr int kVocab = 20000;
  const Tensor logits({64, kVocab}, DType::kF32);  // all 0
  // top_p keeps the smaller ids; top_k all of them.
  for (const Settings& settings : std::vector<Settings>{{.temperature = 0.0F},
                                                        {.top_p = 0.25F},
                                                        {.top_k = 10},
                                                        {.top_k = 10, .top_p = 0.25F},
                                                        {.top_k = 9000, .top_p = 0x1p-10F},
                                                        {.top_p = 0.125F, .min_p = 1.0F}}) {
    const auto got = sample(logits.view(), {settings}, 3);
    EXPECT_EQ(got, expected(logits.view(), {settings}, 3)) << settings.top_p;
    for (const int32_t id : got) {
      if (settings.temperature == 0.0F) EXPECT_EQ(id, 0);
      EXPECT_LT(static_cast<float>(id), settings.top_p * kVocab);
    }
  }
}

TEST_F(SampleCuda, GreedyTakesTheSmallestIdAmongEquals) {
  Tensor logits({3, 100000}, DType::kF32);
  for (const int id : {40000, 93, 99999}) logits.view().row<float>(0)[id] = 2.0F;
  for (const int id : {99999, 4096, 4095}) logits.view().row<float>(1)[id] = 2.0F;
  EXPECT_EQ(sample(logits.view(), {{.temperature = 0.0F}}, 1), (std::vector<int32_t>{93, 4095, 0}));
}

TEST_F(SampleCuda, MaskedTokensAreNeverDrawn) {
  constexpr int kVocab = 30000;
  for (const int every : {8, 1000, 29000}) {
    Tensor logits({64, kVocab}, DType::kF32);
    for (int64_t row = 0; row < 64; ++row) {
      for (int i = 0; i < kVocab; ++i) {
        logits.view().row<float>(row)[i] =
            i % every == 3 ? 0.001F * static_cast<float>(i % 77) : -kInfinity;
      }
    }
    const auto got = sample(logits.view(), kMixedSettings, 5);
    for (const int32_t id : got) EXPECT_EQ(id % every, 3);
    EXPECT_LE(num_different(got, expected(logits.view(), kMixedSettings, 5)), 1);
  }
}

TEST_F(SampleCuda, RowsWithoutATokenGiveMinusOneAndDisturbNoOthers) {
  Random random(83);
  constexpr int kVocab = 32000;
  const std::vector<float> bad = {std::nanf(""), kInfinity, -std::nanf("")};
  const int rows = 4 * static_cast<int>(kMixedSettings.size());
  Tensor logits = random.tensor(rows, kVocab, DType::kF32, 2.0F);
  const auto want = sample(logits.view(), kMixedSettings, 9);
  // Rows 1, 3, 5, ... are bad, of every kind; over all rows every settings are bad and good.
  for (const int first : {0, 1}) {
    const Tensor damaged = copy(logits.view());
    for (int64_t row = first; row < rows; row += 2) {
      float* x = damaged.view().row<float>(row);
      const auto kind = static_cast<size_t>(row / 2 % 4);
      if (kind == bad.size()) {
        std::fill_n(x, kVocab, -kInfinity);
      } else {
        x[random.between(0, kVocab - 1)] = bad[kind];
      }
    }
    const auto got = sample(damaged.view(), kMixedSettings, 9);
    for (size_t row = 0; row < got.size(); ++row) {
      const bool is_bad = static_cast<int>(row % 2) == first;
      EXPECT_EQ(got[row], is_bad ? -1 : want[row]) << "row " << row;
    }
  }
}

TEST_F(SampleCuda, FollowsTheDistributionUpToTheBoundaryOfTopP) {
  const std::vector<double> probabilities = {0.07, 0.5, 0.03, 0.25, 0.15};
  constexpr int kDraws = 20000;
  Tensor logits({kDraws, 5}, DType::kF32);
  for (int64_t row = 0; row < kDraws; ++row) {
    for (int i = 0; i < 5; ++i) {
      logits.view().row<float>(row)[i] = static_cast<float>(std::log(probabilities[i]));
    }
  }
  // The mass of the most likely tokens that reach top_p.
  const std::vector<std::pair<float, double>> kept = {
      {1.0F, 1.0},  {0.98F, 1.0},  {0.96F, 0.97}, {0.91F, 0.97}, {0.89F, 0.9},
      {0.76F, 0.9}, {0.74F, 0.75}, {0.51F, 0.75}, {0.49F, 0.5},  {0.0F, 0.5}};
  for (const auto& [top_p, mass] : kept) {
    std::map<int32_t, int> counts;
    for (const int32_t id : sample(logits.view(), {{.top_p = top_p}}, 9)) ++counts[id];
    double more_likely = 0.0;
    for (const int id : {1, 3, 4, 0, 2}) {
      const double p = more_likely < mass - 1e-6 ? probabilities[id] / mass : 0.0;
      more_likely += probabilities[id];
      const double deviation = std::sqrt(p * (1 - p) / kDraws);
      EXPECT_NEAR(static_cast<double>(counts[id]) / kDraws, p, 5 * deviation)
          << "token " << id << " of top_p " << top_p;
    }
  }
}

class LogprobsCuda : public CudaTest {
 protected:
  struct Result {
    Tensor logprob, rank, ids, values;
  };
  Result run(const KernelTable& which, Stream& queue, const TensorView& logits,
             const std::vector<int32_t>& tokens, const std::vector<int32_t>& tops, int max_top) {
    const bool is_host = which.device->is_host();
    const auto place = [&](const Tensor& host) {
      return is_host ? copy(host.view()) : upload(host.view());
    };
    const Tensor token_ids = place(indices(tokens));
    const Tensor num_top = place(indices(tops));
    const Tensor device_logits = is_host ? copy(logits) : upload(copy(logits).view());
    const int64_t rows = logits.rows();
    Result result{.logprob = place(Tensor({rows}, DType::kF32)),
                  .rank = place(Tensor({rows}, DType::kI32)),
                  .ids = place(Tensor({rows, max_top}, DType::kI32)),
                  .values = place(Tensor({rows, max_top}, DType::kF32))};
    which.logprobs(queue, {.logits = device_logits.view(),
                           .token_ids = token_ids.view(),
                           .num_top = num_top.view(),
                           .max_top = max_top,
                           .logprob = result.logprob.view(),
                           .rank = result.rank.view(),
                           .top_ids = result.ids.view(),
                           .top_logprobs = result.values.view()});
    if (is_host) return result;
    return {.logprob = download(result.logprob.view()),
            .rank = download(result.rank.view()),
            .ids = download(result.ids.view()),
            .values = download(result.values.view())};
  }
  void compare(const TensorView& logits, const std::vector<int32_t>& tokens,
               const std::vector<int32_t>& tops, int max_top) {
    const Result want = run(reference_table(), *host_stream, logits, tokens, tops, max_top);
    const Result got = run(*table, *stream, logits, tokens, tops, max_top);
    expect_near(got.logprob.view(), want.logprob.view(), 2e-6F);
    expect_near(got.values.view(), want.values.view(), 2e-6F);
    expect_same_bits(got.rank.view(), want.rank.view());
    expect_same_bits(got.ids.view(), want.ids.view());
  }
};

TEST_F(LogprobsCuda, AgreesWithTheReference) {
  Random random(84);
  for (const int vocab : {1, 17, 1000, 4096, 5001, 50257, 128256, 152064}) {
    constexpr int kRows = 6;
    for (const int wanted : {1, 20, 64, 700, 1500, 9000}) {
      SCOPED_TRACE("vocab " + std::to_string(vocab) + ", top " + std::to_string(wanted));
      const int max_top = std::min(vocab, wanted);
      const Tensor logits = random.tensor(kRows, vocab, DType::kF32, 4.0F);
      // Equal logits, so that ties are exercised.
      for (int64_t i = 0; i < vocab; i += 3) logits.view().row<float>(2)[i] = 1.25F;
      for (int64_t i = 0; i < vocab; ++i) logits.view().row<float>(3)[i] = -2.0F;
      std::vector<int32_t> tokens;
      std::vector<int32_t> tops;
      for (int row = 0; row < kRows; ++row) {
        tokens.push_back(random.between(0, vocab - 1));
        tops.push_back(row == 0 ? 0 : row < 4 ? max_top : random.between(0, max_top));
      }
      compare(logits.view(), tokens, tops, max_top);
    }
  }
}

TEST_F(LogprobsCuda, ListsMaskedTokensLast) {
  constexpr int kVocab = 10000;
  Tensor logits({2, kVocab}, DType::kF32);
  for (int64_t i = 0; i < kVocab; ++i) {
    logits.view().row<float>(0)[i] = i % 2500 == 1 ? static_cast<float>(i) * 1e-3F : -kInfinity;
    logits.view().row<float>(1)[i] = i % 100 == 1 ? static_cast<float>(i) * 1e-3F : -kInfinity;
  }
  constexpr int kTop = 7;
  const Result got = run(*table, *stream, logits.view(), {2501, 101}, {kTop, kTop}, kTop);
  const std::vector<int32_t> want = {7501, 5001, 2501, 1, 0, 2, 3};
  for (int i = 0; i < kTop; ++i) {
    EXPECT_EQ(got.ids.view().row<int32_t>(0)[i], want[static_cast<size_t>(i)]);
    EXPECT_EQ(got.ids.view().row<int32_t>(1)[i], 9901 - 100 * i);
    EXPECT_EQ(got.values.view().row<float>(0)[i] == -kInfinity, i >= 4);
  }
  EXPECT_EQ(got.rank.view().as<int32_t>()[0], 3);
}

TEST_F(LogprobsCuda, ARowOfNaNsOrWithoutATokenDisturbsNoOther) {
  Random random(85);
  const Tensor logits = random.tensor(3, 5000);
  const Result want = run(*table, *stream, logits.view(), {5, 6, 7}, {10, 10, 10}, 10);
  std::fill_n(logits.view().row<float>(1), 5000, std::nanf(""));
  const Result got = run(*table, *stream, logits.view(), {5, -1, 7}, {10, 10, 10}, 10);
  for (const int64_t row : {0, 2}) {
    EXPECT_EQ(got.logprob.view().as<float>()[row], want.logprob.view().as<float>()[row]);
    expect_same_bits(got.ids.view().rows_view(row, 1), want.ids.view().rows_view(row, 1));
    expect_same_bits(got.values.view().rows_view(row, 1), want.values.view().rows_view(row, 1));
  }
  EXPECT_TRUE(std::isnan(got.logprob.view().as<float>()[1]));
}

}  // namespace
}  // namespace quire
