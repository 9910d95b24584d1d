// Runs one sequence through a Model over a paged cache, without the engine: for tests of models.
#pragma once

#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <vector>

#include "models/model.h"

namespace quire {

// Thread: the caller's.  `model`, `kernels` and `stream` must outlive this.
class SingleSequence {
 public:
  // The adapter of `num_tokens` tokens from a position on; null if they have none.
  using LoraOfTokens = std::function<const LoraBatch*(int first_position, int num_tokens)>;

  struct Options {
    DType cache_dtype = DType::kF32;
    int block_size = 16;
    int max_tokens = 256;
    LoraOfTokens lora = {};
  };
  SingleSequence(Model& model, const KernelTable& kernels, Stream& stream, const Options& options)
      : model_(model),
        kernels_(kernels),
        stream_(stream),
        options_(options),
        num_blocks_((options.max_tokens + options.block_size - 1) / options.block_size) {
    for (const AttentionLayerShape& shape : model.attention_layers()) {
      batch_.layers.push_back({.group = 0,
                               .cache = {.layer_offset = block_bytes_,
                                         .block_size = options.block_size,
                                         .num_kv_heads = shape.num_kv_heads,
                                         .head_dim = shape.head_dim,
                                         .dtype = options.cache_dtype}});
      block_bytes_ += int64_t{2} * options.block_size * shape.num_kv_heads * shape.head_dim *
                      size_of(options.cache_dtype);
    }
    arena_ = Buffer(num_blocks_ * block_bytes_, *kernels.device);
    for (ForwardBatch::Layer& layer : batch_.layers) {
      layer.cache.arena = arena_.data();
      layer.cache.block_bytes = block_bytes_;
    }
    // Backwards, so that a kernel that ignores the table is found out.
    for (int i = 0; i < num_blocks_; ++i) block_table_.push_back(num_blocks_ - 1 - i);
    batch_.groups.resize(1);
  }

  int num_tokens() const { return num_tokens_; }

  // Appends tokens and returns the logits of each: [tokens.size()][vocab_size].
  std::vector<std::vector<float>> append(std::span<const int32_t> tokens) {
    const auto count = static_cast<int32_t>(tokens.size());
    CHECK(num_tokens_ + count <= options_.max_tokens, "more than max_tokens");
    std::vector<int32_t> ids(tokens.begin(), tokens.end());
    std::vector<int32_t> positions, slots;
    for (int32_t i = 0; i < count; ++i) {
      const int32_t position = num_tokens_ + i;
      positions.push_back(position);
      slots.push_back(block_table_[static_cast<size_t>(position / options_.block_size)] *
                          options_.block_size +
                      position % options_.block_size);
    }
    const LoraBatch* lora = options_.lora ? options_.lora(num_tokens_, count) : nullptr;
    num_tokens_ += count;
    std::vector<int32_t> rows(static_cast<size_t>(count));
    std::iota(rows.begin(), rows.end(), 0);
    const Tensor ids_tensor = upload(ids), positions_tensor = upload(positions);
    const Tensor slots_tensor = upload(slots), rows_tensor = upload(rows);
    const Tensor query_start_loc = upload({0, count}), seq_lens = upload({num_tokens_});
    const Tensor blocks = upload(block_table_);

    batch_.num_tokens = count;
    batch_.token_ids = ids_tensor.view();
    batch_.positions = positions_tensor.view();
    batch_.groups[0].slot_mapping = slots_tensor.view();
    batch_.groups[0].attention = {
        .num_seqs = 1,
        .num_decode_seqs = count == 1 ? 1 : 0,
        .max_query_len = count,
        .query_start_loc = query_start_loc.view(),
        .seq_lens = seq_lens.view(),
        .block_table = TensorView(blocks.view().data, Shape{1, num_blocks_}, DType::kI32)};
    ForwardContext context{.kernels = kernels_,
                           .stream = stream_,
                           .batch = batch_,
                           .activation_dtype = kernels_.activations_have_weight_dtype
                                                   ? options_.cache_dtype
                                                   : DType::kF32,
                           .lora = lora};
    const Device& device = *kernels_.device;
    const Tensor hidden(Shape{count, model_.hidden_size()}, DType::kF32, device);
    const Tensor rounded(Shape{count, model_.hidden_size()}, context.activation_dtype, device);
    const Tensor logits(Shape{count, model_.vocab_size()}, DType::kF32, device);
    model_.forward(context, hidden.view());
    kernels_.gather_rows(
        stream_, {.x = hidden.view(), .indices = rows_tensor.view(), .out = rounded.view()});
    model_.compute_logits(context, rounded.view(), logits.view());
    return download(logits.view());
  }

 private:
  Tensor upload(const std::vector<int32_t>& values) {
    Tensor tensor(Shape{static_cast<int64_t>(values.size())}, DType::kI32, *kernels_.device);
    stream_.copy(tensor.view().data, values.data(), std::ssize(values) * size_of(DType::kI32));
    return tensor;
  }
  std::vector<std::vector<float>> download(const TensorView& logits) {
    std::vector<std::vector<float>> rows;
    for (int64_t i = 0; i < logits.rows(); ++i) {
      std::vector<float>& row = rows.emplace_back(static_cast<size_t>(logits.shape[1]));
      stream_.copy(row.data(), logits.row<float>(i), logits.shape[1] * size_of(DType::kF32));
    }
    stream_.synchronize();
    return rows;
  }

  Model& model_;
  const KernelTable& kernels_;
  Stream& stream_;
  Options options_;
  int num_blocks_;
  int64_t block_bytes_ = 0;
  Buffer arena_;
  std::vector<int32_t> block_table_;
  ForwardBatch batch_;
  int num_tokens_ = 0;
};

}  // namespace quire
