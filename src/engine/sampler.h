// Logits to tokens and log-probabilities.  Knows rows, not the scheduler.
#pragma once

#include <span>
#include <vector>

#include "engine/logit_adjuster.h"
#include "engine/request_rows.h"
#include "kernels/kernel_table.h"
#include "tensor/mirrored_arena.h"

namespace quire {

// A row whose next token is to be drawn, and where it goes.
struct SamplingTarget {
  RequestRow* row = nullptr;
  RowOutput* output = nullptr;
};

// Number of most likely tokens to report; a request's -1 stands for the whole vocabulary.
int32_t resolve_num_top(int requested, int vocab_size);

// Writes a sampled token to the output; -1, no token, is a failure.
void report_token(int32_t token_id, RowOutput& output);

// Thread: device, but for tokens().
class Sampler {
 public:
  Sampler(const KernelTable& kernels, int max_num_seqs, int vocab_size);

  // Whether the row's next token can be drawn without the host: no logits processor, no
  // log-probabilities.
  static bool can_queue(const RequestRow& row);
  // Queues the copy of the targets' parameters; before the model, which a copy between it and the
  // draw would hold up.  Requires: can_queue(row) of all.
  void prepare(Stream& stream, std::span<const SamplingTarget> targets);
  // Queues the draw of one token for each of the prepared targets and the copy of the tokens to the
  // host.  logits: [targets, vocab] f32 on the device, overwritten.
  void queue(Stream& stream, const TensorView& logits);
  // The tokens of a queue() once they are on the host: [targets] i32, -1 where none could be drawn.
  // `slot`: results_slot() after the call; kept until the call after the next.  Any thread.
  std::span<const int32_t> tokens(int slot) const;
  int results_slot() const { return results_.slot(); }
  // The tokens of the last queue() on the device, for feed_tokens.
  const TensorView& tokens_on_device() const { return sampled_.device(); }

  // Draws one token per target, appends it to the row and writes it to the output, with
  // log-probabilities of the unmodified logits where asked for.  Waits for the device.
  // logits: [targets, vocab] f32 on the device, overwritten. A row's result depends on its own
  // logits, parameters, seed and history only. A row that gives no token gets a failure in its
  // output, and a made-up token, because the next step may have been planned for one.
  void sample(Stream& stream, const TensorView& logits, std::span<const SamplingTarget> targets);

  // Log-probabilities of given tokens and of the `num_top` most likely ones.
  // logits: [token_ids, vocab] f32, left as it is.
  std::vector<TokenLogprobs> logprobs(Stream& stream, const TensorView& logits,
                                      std::span<const int32_t> token_ids,
                                      std::span<const int32_t> num_top) const;

 private:
  void keep_raw_logits(Stream& stream, const TensorView& logits,
                       std::span<const SamplingTarget> targets);
  // Runs the logits processors of the rows that have some.
  void process(Stream& stream, const TensorView& logits, std::span<const SamplingTarget> targets);
  void find_masked_rows(std::span<const SamplingTarget> targets);
  void take_tokens(std::span<const SamplingTarget> targets);
  void report_logprobs(Stream& stream);

  const KernelTable& kernels_;
  int vocab_size_;
  MirroredArena parameters_;
  // Per-row parameters of this step; [max_num_seqs] each.
  MirroredTensor temperature_;  // f32
  MirroredTensor top_k_;        // i32
  MirroredTensor top_p_;        // f32
  MirroredTensor min_p_;        // f32
  MirroredTensor seeds_;        // u64, as pairs of i32
  MirroredTensor positions_;    // likewise
  LogitAdjuster adjuster_;
  MirroredArena results_;
  MirroredTensor sampled_;  // [max_num_seqs] i32
  // [max_num_seqs, vocab] f32: rows that report log-probabilities, packed; taken when first needed.
  Tensor raw_logits_;
  std::vector<SamplingTarget> reporting_;  // the targets of those rows
};

}  // namespace quire
