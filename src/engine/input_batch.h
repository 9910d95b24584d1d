// This step's inputs, gathered from the rows into the tensors that the model reads.
#pragma once

#include <span>
#include <vector>

#include "engine/request_rows.h"
#include "kvcache/kv_cache_spec.h"
#include "models/model.h"
#include "nn/forward_context.h"
#include "tensor/mirrored_arena.h"

namespace quire {

struct InputBatchConfig {
  int max_num_tokens = 0;  // of one step
  int max_num_seqs = 0;    // of one step
  int max_model_len = 0;
};

// Thread: device.  All memory is taken at construction, so that the tensors of equal steps are at
// equal places; they are overwritten by the next build().
class InputBatch {
 public:
  // `layers`: from make_forward_layers.
  InputBatch(const InputBatchConfig& config, const KVCacheSpec& spec,
             std::vector<ForwardBatch::Layer> layers, const Device& device);

  // rows[i] is the row of step.rows[i], its block table extended for this step.
  void build(const SchedulerOutput& step, std::span<RequestRow* const> rows);
  // Adds made-up sequences of one token, in the null block, to a step of single tokens.
  void pad_to(int num_seqs);
  // Queues the copy to the device.
  void upload(Stream& stream) const;

  // Plans the attention of the uploaded step, where the backend has plans.  They last until the
  // Scope of the stream's workspace that is open at the call ends.
  void plan_attention(const KernelTable& kernels, Stream& stream,
                      std::span<const AttentionLayerShape> layers);

  const ForwardBatch& forward_batch() const { return batch_; }
  // [num_tokens] i32: for each token, its place among the last step's samples, or -1 if token_ids
  // has it already.
  TensorView token_sources() const {
    return token_sources_.device().rows_view(0, batch_.num_tokens);
  }
  int64_t device_bytes() const {
    return arena_.device_bytes() + block_tables_arena_.device_bytes();
  }
  // Index in the step's tokens of the first token of step.rows[i].
  int query_start(size_t i) const { return query_start_loc_.host().as<int32_t>()[i]; }

 private:
  void gather_tokens(const ScheduledRow& scheduled, const RequestRow& row, int first_token);
  void gather_blocks(const ScheduledRow& scheduled, const RequestRow& row, size_t seq);
  void set_size(int num_seqs, int num_decode_seqs, int max_query_len, int num_tokens);

  int block_size_;
  int max_num_tokens_;
  int max_num_seqs_;
  MirroredArena arena_;
  MirroredTensor token_ids_;                   // [max_num_tokens] i32
  MirroredTensor token_sources_;               // [max_num_tokens] i32
  MirroredTensor positions_;                   // [max_num_tokens] i32
  MirroredTensor query_start_loc_;             // [max_num_seqs + 1] i32
  MirroredTensor seq_lens_;                    // [max_num_seqs] i32
  std::vector<MirroredTensor> slot_mappings_;  // per group, [max_num_tokens] i32
  // Per group, [max_num_seqs, max_blocks_per_seq] i32; the columns in use are copied alone.
  MirroredArena block_tables_arena_;
  std::vector<MirroredTensor> block_tables_;
  int num_used_blocks_ = 0;  // of the row with the most
  ForwardBatch batch_;
};

// Group and place in the arena of every attention layer, in the order of the model.
std::vector<ForwardBatch::Layer> make_forward_layers(const KVCacheSpec& spec,
                                                     std::span<const AttentionLayerShape> layers,
                                                     DType dtype, std::byte* arena);

}  // namespace quire
