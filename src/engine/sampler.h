// Logits to tokens and log-probabilities.  Knows rows, not the scheduler.
#pragma once

#include <span>
#include <vector>

#include "engine/request_rows.h"
#include "kernels/kernel_table.h"

namespace quire {

// A row whose next token is to be drawn, and where it goes.
struct SamplingTarget {
  RequestRow* row = nullptr;
  RowOutput* output = nullptr;
};

// Whether a token can be drawn: some logit is finite, and none is NaN or +inf.  -inf is a mask.
bool can_draw(std::span<const float> logits);

// Number of most likely tokens to report; a request's -1 stands for the whole vocabulary.
int32_t resolve_num_top(int requested, int vocab_size);

// Thread: device.
class Sampler {
 public:
  Sampler(const KernelTable& kernels, int max_num_seqs, int vocab_size);

  // Draws one token per target, appends it to the row and writes it to the output, with
  // log-probabilities of the unmodified logits where asked for.  logits: [targets, vocab] f32,
  // overwritten. A row's result depends on its own logits, parameters, seed and history only.
  // A row that gives no token gets a failure in its output, and a made-up token, because the next
  // step may have been planned for one.
  void sample(Stream& stream, const TensorView& logits, std::span<const SamplingTarget> targets);

  // Log-probabilities of given tokens and of the `num_top` most likely ones.
  // logits: [token_ids, vocab] f32, left as it is.
  std::vector<TokenLogprobs> logprobs(Stream& stream, const TensorView& logits,
                                      std::span<const int32_t> token_ids,
                                      std::span<const int32_t> num_top) const;

 private:
  std::span<float> row_of(const TensorView& logits, size_t i) const {
    return {logits.row<float>(static_cast<int64_t>(i)), static_cast<size_t>(vocab_size_)};
  }
  // Zeros stand in for logits that give no token, before and after the processors.
  void check(Stream& stream, const TensorView& logits,
             std::span<const SamplingTarget> targets) const;
  void keep_raw_logits(const TensorView& logits, std::span<const SamplingTarget> targets);
  void process(Stream& stream, const TensorView& logits,
               std::span<const SamplingTarget> targets) const;
  void draw(Stream& stream, const TensorView& logits, std::span<const SamplingTarget> targets);
  void report_logprobs(Stream& stream);

  const KernelTable& kernels_;
  int vocab_size_;
  // Per-row parameters of this step; [max_num_seqs] each.
  Tensor temperature_;  // f32
  Tensor top_k_;        // i32
  Tensor top_p_;        // f32
  Tensor min_p_;        // f32
  Tensor sampled_;      // i32
  std::vector<uint64_t> seeds_;
  std::vector<uint64_t> positions_;
  Tensor raw_logits_;  // [max_num_seqs, vocab] f32: rows that report log-probabilities, packed
  std::vector<SamplingTarget> reporting_;  // the targets of those rows
};

}  // namespace quire
