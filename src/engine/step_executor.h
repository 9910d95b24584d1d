// One step on the device: rows, inputs, model, sampling.  Runs what it is told; chooses nothing.
#pragma once

#include <vector>

#include "engine/input_batch.h"
#include "engine/request_rows.h"
#include "engine/sampler.h"
#include "kvcache/kv_cache_spec.h"
#include "models/model.h"

namespace quire {

struct StepExecutorConfig {
  InputBatchConfig batch;
  KVCacheSpec kv_cache_spec;
  int64_t num_blocks = 0;  // of the arena, the null block included
  DType kv_cache_dtype = DType::kF32;
};

// Thread: device.  Device memory is taken at construction, but for the stream's workspace, which
// grows to the largest step seen.
class StepExecutor {
 public:
  // All references outlive this object.
  StepExecutor(const StepExecutorConfig& config, Model& model, const KernelTable& kernels,
               Stream& stream);

  // Applies the step's changes to the rows, computes its tokens and samples.  The only way to run
  // the model, for warm-up too.
  ModelRunnerOutput execute(const SchedulerOutput& step);

 private:
  void sample(ForwardContext& context, const SchedulerOutput& step, ModelRunnerOutput& output);
  // Log-probabilities of the prompt tokens that this step's positions predict.
  void report_prompt_logprobs(ForwardContext& context, const SchedulerOutput& step,
                              size_t row_index, RowOutput& output);
  // Logits of the hidden states in logit_indices_.  [rows, vocab] f32.
  TensorView compute_logits(ForwardContext& context, int rows);

  Model& model_;
  const KernelTable& kernels_;
  Stream& stream_;
  Buffer arena_;  // [num_blocks] blocks; pages come with their first use
  RequestRows rows_;
  InputBatch batch_;
  Sampler sampler_;
  Tensor hidden_;                       // [max_num_tokens, hidden] f32
  Tensor gathered_hidden_;              // [max logit rows, hidden] f32
  Tensor logits_;                       // [max logit rows, vocab] f32
  Tensor logit_indices_;                // [max logit rows] i32: tokens of this step
  std::vector<RequestRow*> step_rows_;  // of the step's rows, in order
  std::vector<SamplingTarget> targets_;
};

}  // namespace quire
