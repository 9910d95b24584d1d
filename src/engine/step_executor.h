// One step on the device: rows, inputs, model, sampling.  Runs what it is told; chooses nothing.
#pragma once

#include <vector>

#include "engine/graph_runner.h"
#include "engine/input_batch.h"
#include "engine/request_rows.h"
#include "engine/sampler.h"
#include "kvcache/kv_cache_spec.h"
#include "models/model.h"

namespace quire {

struct StepExecutorConfig {
  InputBatchConfig batch;
  KVCacheSpec kv_cache_spec;
  int64_t num_blocks = 0;     // of the arena, the null block included
  DType dtype = DType::kF32;  // of the weights and of the KV cache
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

  // Batch sizes of decode steps that are worth a warm-up each, ascending.
  std::vector<int> decode_buckets() const;

 private:
  // Whether the step samples one token from one token of every row.
  bool is_plain_decode(const SchedulerOutput& step) const;
  // Logits of every row, in order.
  TensorView run_decode(int num_seqs);
  TensorView run_model(const SchedulerOutput& step, ModelRunnerOutput& output);
  // Log-probabilities of the prompt tokens that this step's positions predict.
  void report_prompt_logprobs(ForwardContext& context, const SchedulerOutput& step,
                              size_t row_index, RowOutput& output);
  // Logits of the hidden states in logit_indices_.  [rows, vocab] f32 on the device.
  TensorView compute_logits(ForwardContext& context, int rows);
  ForwardContext context() {
    return {kernels_, stream_, batch_.forward_batch(), activation_dtype_};
  }

  Model& model_;
  const KernelTable& kernels_;
  Stream& stream_;
  DType activation_dtype_;
  Buffer arena_;  // [num_blocks] blocks; on the CPU, pages come with their first use
  RequestRows rows_;
  InputBatch batch_;
  Sampler sampler_;
  Tensor hidden_;           // [max_num_tokens, hidden] f32
  Tensor gathered_hidden_;  // [max logit rows, hidden] activations
  Tensor logits_;           // [max logit rows, vocab] f32
  MirroredArena logit_indices_arena_;
  MirroredTensor logit_indices_;        // [max logit rows] i32: tokens of this step
  std::vector<RequestRow*> step_rows_;  // of the step's rows, in order
  std::vector<SamplingTarget> targets_;
  GraphRunner graphs_;
};

}  // namespace quire
