#include "engine/step_cost.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

// Shapes alone: hidden size 64, 100 tokens, 4 heads and 2 KV heads of 16, two layers of 3,000
// weights in bf16.
class ShapesOnly final : public Model {
 public:
  explicit ShapesOnly(std::vector<int> sliding_windows) {
    for (const int window : sliding_windows) {
      layers_.push_back(
          {.num_heads = 4, .num_kv_heads = 2, .head_dim = 16, .sliding_window = window});
    }
  }
  void forward(ForwardContext&, const TensorView&) override {}
  void compute_logits(ForwardContext&, const TensorView&, const TensorView&) override {}
  const std::vector<AttentionLayerShape>& attention_layers() const override { return layers_; }
  int hidden_size() const override { return 64; }
  int vocab_size() const override { return 100; }
  int64_t weight_bytes() const override { return 0; }
  int64_t layer_weight_bytes() const override { return 2 * 6000; }

 private:
  std::vector<AttentionLayerShape> layers_;
};

constexpr double kHeadWeights = 64 * 100;
constexpr double kKvTokenBytes = 2 * 2 * 16 * 2;  // of one layer
constexpr double kKeyFlops = 4 * 4 * 16;          // of one layer

SchedulerOutput step_of(std::vector<ScheduledRow> rows) {
  SchedulerOutput step;
  for (const ScheduledRow& row : rows) step.total_num_scheduled_tokens += row.num_scheduled_tokens;
  step.rows = std::move(rows);
  return step;
}

ScheduledRow row_of(int num_computed, int num_scheduled, bool samples) {
  return {.num_computed_tokens = num_computed,
          .num_scheduled_tokens = num_scheduled,
          .samples = samples,
          .new_block_ids = {}};
}

TEST(StepCost, DecodeReadsWeightsOnceAndEveryContext) {
  const StepCostModel model(ShapesOnly({0, 0}), DType::kBF16);
  const StepCost cost = model.cost(step_of({row_of(9, 1, true), row_of(99, 1, true)}));
  const double kv = 2 * kKvTokenBytes * (10 + 100 + 2);  // read with the new ones, and written
  EXPECT_DOUBLE_EQ(cost.bytes, 12000 + 2 * kHeadWeights + 2 * 64 * 2 + kv);
  EXPECT_DOUBLE_EQ(cost.flops, 2 * (2 * 6000 + 2 * kHeadWeights) + 2 * kKeyFlops * (10 + 100));
}

TEST(StepCost, PrefillAttendsToHalfOfTheSquare) {
  const StepCostModel model(ShapesOnly({0, 0}), DType::kBF16);
  const StepCost whole = model.cost(step_of({row_of(0, 100, true)}));
  EXPECT_DOUBLE_EQ(whole.flops,
                   100 * 2 * 6000 + 2 * kHeadWeights + 2 * kKeyFlops * (100 * 101 / 2));
  // In chunks the sum of operations is the same; the head is read only where a row samples.
  const StepCost first = model.cost(step_of({row_of(0, 60, false)}));
  const StepCost second = model.cost(step_of({row_of(60, 40, true)}));
  EXPECT_DOUBLE_EQ(first.flops + second.flops, whole.flops);
  EXPECT_DOUBLE_EQ(first.bytes, 12000 + 60 * 64 * 2 + 2 * kKvTokenBytes * (60 + 60));
  EXPECT_DOUBLE_EQ(second.bytes,
                   12000 + 2 * kHeadWeights + 40 * 64 * 2 + 2 * kKvTokenBytes * (100 + 40));
}

TEST(StepCost, WindowsBoundWhatIsSeen) {
  const StepCostModel windows(ShapesOnly({8, 8}), DType::kBF16);
  const StepCostModel mixed(ShapesOnly({8, 0}), DType::kBF16);
  const StepCostModel all(ShapesOnly({0, 0}), DType::kBF16);
  const SchedulerOutput decode = step_of({row_of(99, 1, true)});
  const double base_bytes = 12000 + 2 * kHeadWeights + 64 * 2;
  EXPECT_DOUBLE_EQ(windows.cost(decode).bytes, base_bytes + 2 * kKvTokenBytes * (8 + 1));
  EXPECT_DOUBLE_EQ(2 * mixed.cost(decode).bytes,
                   windows.cost(decode).bytes + all.cost(decode).bytes);
  const double base_flops = 2 * (6000 + kHeadWeights);
  EXPECT_DOUBLE_EQ(windows.cost(decode).flops, base_flops + 2 * kKeyFlops * 8);
  // 5, 6, 7, 8 and then 8 for each.
  const SchedulerOutput chunk = step_of({row_of(4, 10, false)});
  EXPECT_DOUBLE_EQ(windows.cost(chunk).flops, 10 * 2 * 6000 + 2 * kKeyFlops * (26 + 6 * 8));
  EXPECT_DOUBLE_EQ(windows.cost(chunk).bytes, 12000 + 10 * 64 * 2 + 2 * kKvTokenBytes * (14 + 10));
}

TEST(StepCost, OfNothingIsNothing) {
  const StepCost cost = StepCostModel().cost(step_of({row_of(0, 5, true)}));
  EXPECT_EQ(cost.bytes, 0.0);
  EXPECT_EQ(cost.flops, 0.0);
}

}  // namespace
}  // namespace quire
