// One step on the device: rows, inputs, model, sampling.  Runs what it is told; chooses nothing.
#pragma once

#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "engine/adapter_batch.h"
#include "engine/adapter_loader.h"
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
  int max_lora_rank = 0;      // of any adapter; 0: there are none
  int num_lora_targets = 0;   // of the model
};

// A step whose work is queued on the device.  Made by launch(), ended by collect().
class StepInFlight {
 public:
  StepInFlight() = default;
  ~StepInFlight();
  StepInFlight(const StepInFlight&) = delete;
  StepInFlight& operator=(const StepInFlight&) = delete;

 private:
  friend class StepExecutor;
  struct Target {
    RequestId id = 0;
    int64_t row_generation = 0;
    size_t row_index = 0;  // in the step
  };

  ModelRunnerOutput output_;
  int64_t number_ = 0;
  // Tokens that the host has yet to take: none if launch() has waited for them.
  std::vector<Target> targets_;
  int results_slot_ = 0;
  const Device* device_ = nullptr;
  void* event_ = nullptr;  // after the last of the step's work; null if that is done
};

// Thread: device, but for collect().  Device memory is taken at construction, but for the stream's
// workspace, which grows to the largest step seen.
class StepExecutor {
 public:
  // All references outlive this object.
  StepExecutor(const StepExecutorConfig& config, Model& model, const KernelTable& kernels,
               Stream& stream);

  // Applies the step's changes to the rows, computes its tokens and samples.  The only way to run
  // the model, for warm-up too.  On a device with a queue it returns before that is done, unless a
  // row needs the host between logits and token.
  void launch(const SchedulerOutput& step, std::shared_ptr<StepInFlight> flight);
  // Waits for the step.  Any thread; in the order of launches, each before the launch after the
  // next.
  ModelRunnerOutput collect(StepInFlight& flight) const;

  // Batch sizes of decode steps that are worth a warm-up each, ascending.
  std::vector<int> decode_buckets() const;
  // Device memory of inputs, hidden states and logits.  Any thread.
  int64_t buffer_bytes() const {
    return batch_.device_bytes() + hidden_.num_bytes() + gathered_hidden_.num_bytes() +
           logits_.num_bytes();
  }

 private:
  // Appends the tokens of all launched steps but the last `num_left` to their rows.
  void absorb_tokens(size_t num_left);
  // Queues the loads; where the device is not the host, beside the step that runs.  Comes after the
  // uploads of the step's inputs: copies to a device may keep the order of the calls, and the step
  // should not wait for those of its last layers.
  void load_adapters(std::span<const AdapterLoad> loads);
  bool can_queue() const;
  // Queues sampling, and makes the sampled tokens' places known to their rows.
  void queue_sampling(const SchedulerOutput& step, const TensorView& logits, StepInFlight& flight);
  // Whether the step samples one token from one token of every row.
  bool is_plain_decode(const SchedulerOutput& step) const;
  // Puts tokens that only the device knows in their places among the inputs.
  void feed_tokens();
  // Logits of every row, in order.
  TensorView run_decode(const SchedulerOutput& step, bool has_adapters);
  TensorView run_model(const SchedulerOutput& step, bool has_adapters, ModelRunnerOutput& output);
  // Log-probabilities of the prompt tokens that this step's positions predict.
  void report_prompt_logprobs(ForwardContext& context, const SchedulerOutput& step,
                              size_t row_index, RowOutput& output);
  // Logits of the hidden states at `indices`.  [rows, vocab] f32 on the device.
  TensorView compute_logits(ForwardContext& context, const TensorView& indices);
  ForwardContext context(bool has_adapters) {
    return {kernels_, stream_, batch_.forward_batch(), activation_dtype_,
            has_adapters ? &adapters_->tokens() : nullptr};
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
  Tensor decode_rows_;                  // [max logit rows] i32: 0, 1, 2, ...
  std::vector<RequestRow*> step_rows_;  // of the step's rows, in order
  std::vector<SamplingTarget> targets_;
  std::deque<std::shared_ptr<StepInFlight>> in_flight_;  // whose tokens are not in the rows yet
  int64_t num_queued_ = 0;
  GraphRunner graphs_;
  // Of steps in which a row has an adapter; null if there are no adapters.
  std::unique_ptr<AdapterBatch> adapters_;
  std::unique_ptr<GraphRunner> adapter_graphs_;
  std::unique_ptr<AdapterLoader> loader_;  // null on the host
};

}  // namespace quire
