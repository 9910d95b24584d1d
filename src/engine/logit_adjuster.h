// Runs the logits processors of the rows of a step: their changes as lists, for adjust_logits.
#pragma once

#include <span>
#include <vector>

#include "engine/logits_processors.h"
#include "kernels/kernel_table.h"

namespace quire {

// Thread: device.
class LogitAdjuster {
 public:
  explicit LogitAdjuster(const KernelTable& kernels) : kernels_(kernels) {}

  // Forgets the rows of the last step.
  void clear();
  // Row `index` of the logits is that of `row`.
  void add(int32_t index, const RequestRow& row);
  void add(int32_t index, const SamplingParams& params, const LogitAdjustments& lists);
  // Changes the logits of the rows added.
  void run(Stream& stream, const TensorView& logits);
  // After run() and synchronize(): whether a token could be drawn before the change, per row added.
  std::span<const int32_t> could_draw() const { return could_draw_; }
  std::span<const int32_t> row_indices() const { return row_ids_; }

 private:
  void begin_list() { list_begin_.push_back(static_cast<int32_t>(token_ids_.size())); }
  void append(std::span<const int32_t> ids);
  void append(std::span<const std::pair<int32_t, float>> entries);

  const KernelTable& kernels_;
  // As AdjustLogitsArgs has them.
  std::vector<int32_t> row_ids_, list_begin_, token_ids_, could_draw_;
  std::vector<float> values_, repetition_penalty_, frequency_penalty_, presence_penalty_;
};

}  // namespace quire
