// Which tokens of a step have which adapter, as the kernels read it.
#pragma once

#include <span>
#include <vector>

#include "engine/input_batch.h"
#include "kernels/lora.h"
#include "tensor/mirrored_arena.h"

namespace quire {

struct AdapterBatchConfig {
  int max_num_tokens = 0;  // of one step
  int max_num_seqs = 0;
  int max_rank = 0;  // of any adapter
  const std::byte* arena = nullptr;
  int64_t block_bytes = 0;
  DType dtype = DType::kF32;
};

// Thread: device.  All memory is taken at construction, at equal places for equal steps.
class AdapterBatch {
 public:
  AdapterBatch(const AdapterBatchConfig& config, const Device& device);

  // Groups the tokens of the step by adapter, and the rows whose last token is sampled.
  // Returns whether there are any.
  bool build(const SchedulerOutput& step, std::span<RequestRow* const> rows);
  // For work that is recorded once for all steps of `num_seqs` sequences of one token.
  void set_recorded(int num_seqs);
  void upload(Stream& stream) const;

  const LoraBatch& tokens() const { return tokens_.batch; }
  const LoraBatch& logit_rows() const { return logit_rows_.batch; }

 private:
  // Tiles over one set of rows of activations.
  struct Tiles {
    MirroredTensor num_tiles;  // [2] i32
    MirroredTensor tiles;      // LoraTile[]
    MirroredTensor tokens;     // [max] i32
    LoraBatch batch;
  };
  // The tokens of one row on which its adapter acts.
  struct Span {
    int64_t directory = 0;  // of the adapter, in bytes from the start of the arena
    int rank = 0;
    int first_token = 0;  // in the step
    int num_tokens = 0;
    int logit_row = -1;  // -1: not sampled
  };

  Tiles take_tiles(const AdapterBatchConfig& config, int max_tokens);
  void find_spans(const SchedulerOutput& step, std::span<RequestRow* const> rows);
  // Tiles of adapters that have few come last.
  template <typename ForEachRow>
  void fill(Tiles& tiles, const ForEachRow& for_each_row);
  // `spans`: of one adapter.
  template <typename ForEachRow>
  void add_tiles(Tiles& tiles, std::span<const Span> spans, const ForEachRow& for_each_row);
  // Of the rows of a step of few tokens.
  void fill_places(int num_tokens);

  AdapterBatchConfig config_;
  MirroredArena arena_;
  MirroredTensor places_;  // LoraTokenPlace[kMaxDeferredTokens]
  Tiles tokens_;
  Tiles logit_rows_;
  std::vector<Span> spans_;
};

}  // namespace quire
