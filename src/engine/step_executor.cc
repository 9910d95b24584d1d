#include "engine/step_executor.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace quire {
namespace {

// Prompt positions whose logits are held at once, which bounds their memory for long prompts.
constexpr int kMaxPromptLogprobRows = 64;

int max_logit_rows(const InputBatchConfig& config) {
  return std::max(config.max_num_seqs, kMaxPromptLogprobRows);
}

}  // namespace

StepExecutor::StepExecutor(const StepExecutorConfig& config, Model& model,
                           const KernelTable& kernels, Stream& stream)
    : model_(model),
      kernels_(kernels),
      stream_(stream),
      arena_(config.num_blocks * config.kv_cache_spec.block_bytes),
      batch_(config.batch, config.kv_cache_spec,
             make_forward_layers(config.kv_cache_spec, model.attention_layers(),
                                 config.kv_cache_dtype, arena_.data())),
      sampler_(kernels, config.batch.max_num_seqs, model.vocab_size()),
      hidden_({config.batch.max_num_tokens, model.hidden_size()}, DType::kF32),
      gathered_hidden_({max_logit_rows(config.batch), model.hidden_size()}, DType::kF32),
      logits_({max_logit_rows(config.batch), model.vocab_size()}, DType::kF32),
      logit_indices_({max_logit_rows(config.batch)}, DType::kI32) {
  step_rows_.reserve(static_cast<size_t>(config.batch.max_num_seqs));
  targets_.reserve(static_cast<size_t>(config.batch.max_num_seqs));
}

ModelRunnerOutput StepExecutor::execute(const SchedulerOutput& step) {
  ModelRunnerOutput output{.step_id = step.step_id, .rows = {}};
  rows_.apply(step);
  if (step.empty()) return output;
  step_rows_.clear();
  for (const ScheduledRow& scheduled : step.rows) step_rows_.push_back(&rows_.at(scheduled.id));
  batch_.build(step, step_rows_);

  ForwardContext context{kernels_, stream_, batch_.forward_batch()};
  model_.forward(context, hidden_.view().rows_view(0, step.total_num_scheduled_tokens));
  output.rows.resize(step.rows.size());
  for (size_t i = 0; i < step.rows.size(); ++i) {
    output.rows[i].id = step.rows[i].id;
    if (step_rows_[i]->params().prompt_logprobs) {
      report_prompt_logprobs(context, step, i, output.rows[i]);
    }
  }
  sample(context, step, output);
  return output;
}

void StepExecutor::sample(ForwardContext& context, const SchedulerOutput& step,
                          ModelRunnerOutput& output) {
  targets_.clear();
  auto* indices = logit_indices_.view().as<int32_t>();
  for (size_t i = 0; i < step.rows.size(); ++i) {
    if (!step.rows[i].samples) continue;
    indices[targets_.size()] = batch_.query_start(i) + step.rows[i].num_scheduled_tokens - 1;
    targets_.push_back({step_rows_[i], &output.rows[i]});
  }
  if (targets_.empty()) return;
  sampler_.sample(stream_, compute_logits(context, static_cast<int>(targets_.size())), targets_);
}

void StepExecutor::report_prompt_logprobs(ForwardContext& context, const SchedulerOutput& step,
                                          size_t row_index, RowOutput& output) {
  const RequestRow& row = *step_rows_[row_index];
  if (row.num_output_tokens() > 0) return;  // reported before the first token
  // The logits of position p are about the token at p + 1.
  const int begin = step.rows[row_index].num_computed_tokens;
  const int end =
      std::min(begin + step.rows[row_index].num_scheduled_tokens, row.num_prompt_tokens() - 1);
  const int32_t num_top = resolve_num_top(*row.params().prompt_logprobs, model_.vocab_size());
  for (int chunk = begin; chunk < end; chunk += kMaxPromptLogprobRows) {
    const int rows = std::min(kMaxPromptLogprobRows, end - chunk);
    auto* indices = logit_indices_.view().as<int32_t>();
    for (int i = 0; i < rows; ++i) indices[i] = batch_.query_start(row_index) + chunk - begin + i;
    const TensorView logits = compute_logits(context, rows);
    for (int64_t i = 0; i < rows; ++i) {
      if (!can_draw({logits.row<float>(i), static_cast<size_t>(model_.vocab_size())})) {
        output.failure = RowFailure::kCorrupted;
        return;
      }
    }
    const std::span token_ids =
        std::span(row.token_ids).subspan(static_cast<size_t>(chunk) + 1, static_cast<size_t>(rows));
    const std::vector<int32_t> num_tops(static_cast<size_t>(rows), num_top);
    std::ranges::move(sampler_.logprobs(stream_, logits, token_ids, num_tops),
                      std::back_inserter(output.prompt_logprobs));
  }
}

TensorView StepExecutor::compute_logits(ForwardContext& context, int rows) {
  const TensorView hidden = gathered_hidden_.view().rows_view(0, rows);
  const TensorView logits = logits_.view().rows_view(0, rows);
  kernels_.gather_rows(
      stream_,
      {.x = hidden_.view(), .indices = logit_indices_.view().rows_view(0, rows), .out = hidden});
  model_.compute_logits(context, hidden, logits);
  return logits;
}

}  // namespace quire
