#include "engine/logit_adjuster.h"

namespace quire {

void LogitAdjuster::clear() {
  for (std::vector<int32_t>* list : {&row_ids_, &list_begin_, &token_ids_, &could_draw_}) {
    list->clear();
  }
  for (std::vector<float>* list :
       {&values_, &repetition_penalty_, &frequency_penalty_, &presence_penalty_}) {
    list->clear();
  }
}

void LogitAdjuster::append(std::span<const int32_t> ids) {
  begin_list();
  token_ids_.insert(token_ids_.end(), ids.begin(), ids.end());
  values_.resize(token_ids_.size());
}

void LogitAdjuster::append(std::span<const std::pair<int32_t, float>> entries) {
  begin_list();
  for (const auto& [id, value] : entries) {
    token_ids_.push_back(id);
    values_.push_back(value);
  }
}

void LogitAdjuster::add(int32_t index, const RequestRow& row) {
  LogitAdjustments lists;
  for (const LogitsProcessor& processor : logits_processors()) {
    if (processor.applies(row)) processor.apply(row, lists);
  }
  add(index, row.params(), lists);
}

void LogitAdjuster::add(int32_t index, const SamplingParams& params,
                        const LogitAdjustments& lists) {
  row_ids_.push_back(index);
  append(lists.allowed);
  append(lists.masked);
  append(lists.biased);
  append(lists.penalized);
  begin_list();  // the end
  repetition_penalty_.push_back(params.repetition_penalty);
  frequency_penalty_.push_back(params.frequency_penalty);
  presence_penalty_.push_back(params.presence_penalty);
}

void LogitAdjuster::run(Stream& stream, const TensorView& logits) {
  if (row_ids_.empty()) return;
  const Workspace::Scope scope(stream.workspace());
  const auto upload = [&](const auto& values, Shape shape, DType dtype) {
    const auto num_bytes = static_cast<int64_t>(values.size() * sizeof(values[0]));
    void* data = stream.workspace().take(num_bytes);
    if (num_bytes > 0) stream.copy(data, values.data(), num_bytes);
    return TensorView(data, shape, dtype);
  };
  const auto rows = static_cast<int64_t>(row_ids_.size());
  const auto entries = static_cast<int64_t>(token_ids_.size());
  could_draw_.assign(row_ids_.size(), 1);
  const AdjustLogitsArgs args{
      .logits = logits,
      .row_ids = upload(row_ids_, {rows}, DType::kI32),
      .list_begin = upload(list_begin_, {rows, AdjustLogitsArgs::kNumLists + 1}, DType::kI32),
      .token_ids = upload(token_ids_, {entries}, DType::kI32),
      .values = upload(values_, {entries}, DType::kF32),
      .repetition_penalty = upload(repetition_penalty_, {rows}, DType::kF32),
      .frequency_penalty = upload(frequency_penalty_, {rows}, DType::kF32),
      .presence_penalty = upload(presence_penalty_, {rows}, DType::kF32),
      .could_draw = upload(could_draw_, {rows}, DType::kI32)};
  kernels_.adjust_logits(stream, args);
  stream.copy(could_draw_.data(), args.could_draw.data, rows * size_of(DType::kI32));
}

}  // namespace quire
