// The kernel that adjusts logits against the reference.
#include <array>
#include <numeric>
#include <set>

#include "kernels/cuda/cuda_test_support.h"

namespace quire {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Args = AdjustLogitsArgs;

struct Entry {
  int32_t token_id = 0;
  float value = 0.0F;
};

// What is to be done to one row.
struct RowAdjustment {
  int32_t row_id = 0;
  std::array<std::vector<Entry>, Args::kNumLists> lists{};
  float repetition_penalty = 1.0F;
  float frequency_penalty = 0.0F;
  float presence_penalty = 0.0F;
};

// What the contract says, word for word.
void adjust_on_host(const RowAdjustment& row, std::span<float> logits) {
  const auto at = [&](const Entry& entry) -> float& {
    return logits[static_cast<size_t>(entry.token_id)];
  };
  if (!row.lists[Args::kAllowed].empty()) {
    std::set<int32_t> allowed;
    for (const Entry& entry : row.lists[Args::kAllowed]) allowed.insert(entry.token_id);
    for (size_t i = 0; i < logits.size(); ++i) {
      if (!allowed.contains(static_cast<int32_t>(i))) logits[i] = -kInfinity;
    }
  }
  for (const Entry& entry : row.lists[Args::kMasked]) at(entry) = -kInfinity;
  for (const Entry& entry : row.lists[Args::kBiased]) at(entry) += entry.value;
  for (const Entry& entry : row.lists[Args::kPenalized]) {
    float& logit = at(entry);
    logit = logit > 0.0F ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    const volatile float product = row.frequency_penalty * entry.value;  // rounded
    logit -= product;
    if (entry.value > 0.0F) logit -= row.presence_penalty;
  }
}

class AdjustLogitsCuda : public CudaTest {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped()) return;
    ASSERT_NE(table->adjust_logits, nullptr);
  }

  struct Result {
    Tensor logits;
    std::vector<int32_t> could_draw;
  };
  // `margin`: columns before and after the logits in memory.
  Result run(const TensorView& logits, const std::vector<RowAdjustment>& rows, int margin) {
    const int64_t vocab = logits.shape[1];
    Tensor wide({logits.rows(), vocab + 2 * margin}, DType::kF32);
    for (int64_t i = 0; i < logits.rows(); ++i) {
      std::copy_n(logits.row<float>(i), vocab, wide.view().row<float>(i) + margin);
    }
    std::vector<int32_t> row_ids, list_begin, token_ids;
    std::vector<float> values, repetition, frequency, presence;
    for (const RowAdjustment& row : rows) {
      row_ids.push_back(row.row_id);
      repetition.push_back(row.repetition_penalty);
      frequency.push_back(row.frequency_penalty);
      presence.push_back(row.presence_penalty);
      for (const std::vector<Entry>& list : row.lists) {
        list_begin.push_back(static_cast<int32_t>(token_ids.size()));
        for (const Entry& entry : list) {
          token_ids.push_back(entry.token_id);
          values.push_back(entry.value);
        }
      }
      list_begin.push_back(static_cast<int32_t>(token_ids.size()));
    }
    token_ids.push_back(-1);  // so that no array is empty
    values.push_back(std::nanf(""));
    const Tensor device_logits = upload(wide.view());
    const Tensor device_row_ids = upload(indices(row_ids).view());
    const Tensor device_begin = upload(indices(list_begin).view());
    const Tensor device_ids = upload(indices(token_ids).view());
    const Tensor device_values = upload(floats(values).view());
    const Tensor device_repetition = upload(floats(repetition).view());
    const Tensor device_frequency = upload(floats(frequency).view());
    const Tensor device_presence = upload(floats(presence).view());
    const auto num_rows = static_cast<int64_t>(rows.size());
    const Tensor could_draw = poisoned({num_rows}, DType::kI32);
    table->adjust_logits(*stream,
                         {.logits = device_logits.view().columns_view(margin, vocab),
                          .row_ids = device_row_ids.view(),
                          .list_begin = TensorView(device_begin.view().data,
                                                   {num_rows, Args::kNumLists + 1}, DType::kI32),
                          .token_ids = device_ids.view(),
                          .values = device_values.view(),
                          .repetition_penalty = device_repetition.view(),
                          .frequency_penalty = device_frequency.view(),
                          .presence_penalty = device_presence.view(),
                          .could_draw = could_draw.view()});
    const Tensor all = download(device_logits.view());
    Tensor result({logits.rows(), vocab}, DType::kF32);
    for (int64_t i = 0; i < logits.rows(); ++i) {
      const float* row = all.view().row<float>(i);
      std::copy_n(row + margin, vocab, result.view().row<float>(i));
      for (int j = 0; j < margin; ++j) EXPECT_EQ(row[j] + row[margin + vocab + j], 0.0F);
    }
    const Tensor flags = download(could_draw.view());
    return {.logits = std::move(result),
            .could_draw = {flags.view().as<int32_t>(), flags.view().as<int32_t>() + num_rows}};
  }

  // `num` distinct tokens at most, with small whole numbers as values.
  static std::vector<Entry> random_list(Random& random, int vocab, int num) {
    std::vector<Entry> list;
    std::set<int32_t> seen;
    for (int i = 0; i < num; ++i) {
      const int32_t id = random.between(0, vocab - 1);
      if (!seen.insert(id).second) continue;
      list.push_back({.token_id = id, .value = static_cast<float>(random.between(0, 3))});
    }
    return list;
  }
  static RowAdjustment random_adjustment(Random& random, int vocab, int32_t row_id) {
    RowAdjustment row{.row_id = row_id};
    const auto size = [&] { return random.between(0, 2) == 0 ? 0 : random.between(1, 700); };
    for (auto& list : row.lists) list = random_list(random, vocab, size());
    for (Entry& entry : row.lists[Args::kBiased]) entry.value = random.normal(30.0F);
    auto& masked = row.lists[Args::kMasked];
    if (!masked.empty()) masked.push_back(masked.front());  // twice is once
    row.repetition_penalty = random.between(0, 1) == 0 ? 1.0F : 1.3F;
    row.frequency_penalty = random.normal(1.0F);
    row.presence_penalty = random.normal(1.0F);
    return row;
  }
};

TEST_F(AdjustLogitsCuda, HasTheBitsOfTheHost) {
  Random random(90);
  for (const int vocab : {1, 5, 1000, 4096, 4097, 32000, 128256}) {
    for (const int margin : {0, 4, 1}) {
      SCOPED_TRACE("vocab " + std::to_string(vocab) + ", margin " + std::to_string(margin));
      constexpr int kRows = 9;
      Tensor logits = random.tensor(kRows, vocab, DType::kF32, 5.0F);
      for (int64_t i = 1; i < vocab; i += 5) logits.view().row<float>(3)[i] = -kInfinity;
      for (int64_t i = 0; i < vocab; ++i)
        logits.view().row<float>(4)[i] = i % 2 == 0 ? 0.0F : -0.0F;
      std::vector<RowAdjustment> rows;
      for (const int32_t row_id : {7, 3, 0, 4, 8}) {
        rows.push_back(random_adjustment(random, vocab, row_id));
      }
      const Tensor want = copy(logits.view());
      for (const RowAdjustment& row : rows) {
        adjust_on_host(row, {want.view().row<float>(row.row_id), static_cast<size_t>(vocab)});
      }
      const Result got = run(logits.view(), rows, margin);
      expect_same_bits(got.logits.view(), want.view());
      EXPECT_EQ(got.could_draw, std::vector<int32_t>(rows.size(), 1));
    }
  }
}

TEST_F(AdjustLogitsCuda, LeavesRowsWithoutATokenAsTheyAre) {
  Random random(91);
  constexpr int kVocab = 20000;
  Tensor logits = random.tensor(5, kVocab, DType::kF32, 5.0F);
  logits.view().row<float>(0)[12345] = std::nanf("");
  logits.view().row<float>(1)[7] = kInfinity;
  std::fill_n(logits.view().row<float>(2), kVocab, -kInfinity);
  std::fill_n(logits.view().row<float>(3), kVocab, -kInfinity);
  logits.view().row<float>(3)[19999] = -1e30F;  // one is enough
  std::vector<RowAdjustment> rows;
  for (int32_t row_id = 0; row_id < 5; ++row_id) {
    rows.push_back(
        {.row_id = row_id, .lists = {std::vector<Entry>{{.token_id = 5}, {.token_id = 19999}}}});
  }
  const Tensor want = copy(logits.view());
  for (const int64_t row : {3, 4}) {
    adjust_on_host(rows[static_cast<size_t>(row)], {want.view().row<float>(row), kVocab});
  }
  const Result got = run(logits.view(), rows, 0);
  expect_same_bits(got.logits.view(), want.view());
  EXPECT_EQ(got.could_draw, (std::vector<int32_t>{0, 0, 0, 1, 1}));
}

// More entries than threads, in every chunk, and the values of a token in several lists.
TEST_F(AdjustLogitsCuda, AppliesTheListsInOrder) {
  constexpr int kVocab = 9000;
  Random random(92);
  const Tensor logits = random.tensor(1, kVocab, DType::kF32, 5.0F);
  RowAdjustment row{
      .repetition_penalty = 1.1F, .frequency_penalty = 0.3F, .presence_penalty = 0.7F};
  for (int32_t id = 0; id < kVocab; ++id) {
    if (id % 3 != 0) row.lists[Args::kAllowed].push_back({.token_id = id});
    if (id % 7 == 0) row.lists[Args::kMasked].push_back({.token_id = id});
    if (id % 2 == 0) row.lists[Args::kBiased].push_back({.token_id = id, .value = 2.5F});
    if (id % 5 != 0) {
      row.lists[Args::kPenalized].push_back({.token_id = id, .value = static_cast<float>(id % 4)});
    }
  }
  const Tensor want = copy(logits.view());
  adjust_on_host(row, {want.view().as<float>(), kVocab});
  expect_same_bits(run(logits.view(), {row}, 0).logits.view(), want.view());
}

}  // namespace
}  // namespace quire
