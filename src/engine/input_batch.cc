#include "engine/input_batch.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

int max_blocks_per_seq(const InputBatchConfig& config, const KVCacheSpec& spec) {
  return (config.max_model_len + spec.block_size - 1) / spec.block_size;
}

int64_t arena_bytes(const InputBatchConfig& config, const KVCacheSpec& spec) {
  const auto space = [](int64_t size) { return MirroredArena::space(size, DType::kI32); };
  const auto num_token_tensors = static_cast<int64_t>(3 + spec.groups.size());
  return num_token_tensors * space(config.max_num_tokens) + space(config.max_num_seqs + 1) +
         space(config.max_num_seqs);
}

int64_t block_tables_bytes(const InputBatchConfig& config, const KVCacheSpec& spec) {
  const int64_t one = int64_t{config.max_num_seqs} * max_blocks_per_seq(config, spec);
  return static_cast<int64_t>(spec.groups.size()) * MirroredArena::space(one, DType::kI32);
}

// The first `rows` rows, as the model reads them.
TensorView head(const MirroredTensor& tensor, int64_t rows) {
  return tensor.device().rows_view(0, rows);
}

}  // namespace

InputBatch::InputBatch(const InputBatchConfig& config, const KVCacheSpec& spec,
                       std::vector<ForwardBatch::Layer> layers, const Device& device)
    : block_size_(spec.block_size),
      max_num_tokens_(config.max_num_tokens),
      max_num_seqs_(config.max_num_seqs),
      arena_(device, arena_bytes(config, spec)),
      token_ids_(arena_.take({config.max_num_tokens}, DType::kI32)),
      token_sources_(arena_.take({config.max_num_tokens}, DType::kI32)),
      positions_(arena_.take({config.max_num_tokens}, DType::kI32)),
      query_start_loc_(arena_.take({config.max_num_seqs + 1}, DType::kI32)),
      seq_lens_(arena_.take({config.max_num_seqs}, DType::kI32)),
      block_tables_arena_(device, block_tables_bytes(config, spec)) {
  const int max_blocks = max_blocks_per_seq(config, spec);
  for (size_t group = 0; group < spec.groups.size(); ++group) {
    slot_mappings_.push_back(arena_.take({config.max_num_tokens}, DType::kI32));
    block_tables_.push_back(
        block_tables_arena_.take({config.max_num_seqs, max_blocks}, DType::kI32));
  }
  batch_.groups.resize(spec.groups.size());
  batch_.layers = std::move(layers);
}

void InputBatch::build(const SchedulerOutput& step, std::span<RequestRow* const> rows) {
  const auto num_seqs = static_cast<int>(rows.size());
  CHECK(step.rows.size() == rows.size() && num_seqs <= max_num_seqs_, num_seqs, " rows");
  CHECK(step.total_num_scheduled_tokens <= max_num_tokens_, step.total_num_scheduled_tokens,
        " tokens in a step of at most ", max_num_tokens_);
  arena_.flip();
  block_tables_arena_.flip();
  auto* query_start_loc = query_start_loc_.host().as<int32_t>();
  int num_tokens = 0;
  int num_decode_seqs = 0;
  int max_query_len = 0;
  num_used_blocks_ = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const ScheduledRow& scheduled = step.rows[i];
    query_start_loc[i] = num_tokens;
    seq_lens_.host().as<int32_t>()[i] =
        scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
    gather_tokens(scheduled, *rows[i], num_tokens);
    gather_blocks(scheduled, *rows[i], i);
    num_tokens += scheduled.num_scheduled_tokens;
    max_query_len = std::max(max_query_len, scheduled.num_scheduled_tokens);
    if (num_tokens == static_cast<int>(i) + 1) num_decode_seqs = num_tokens;
  }
  CHECK(num_tokens == step.total_num_scheduled_tokens, num_tokens, " tokens scheduled, ",
        step.total_num_scheduled_tokens, " announced");
  set_size(num_seqs, num_decode_seqs, max_query_len, num_tokens);
}

void InputBatch::set_size(int num_seqs, int num_decode_seqs, int max_query_len, int num_tokens) {
  query_start_loc_.host().as<int32_t>()[num_seqs] = num_tokens;
  batch_.num_tokens = num_tokens;
  batch_.token_ids = head(token_ids_, num_tokens);
  batch_.positions = head(positions_, num_tokens);
  for (size_t group = 0; group < batch_.groups.size(); ++group) {
    batch_.groups[group].slot_mapping = head(slot_mappings_[group], num_tokens);
    batch_.groups[group].attention = {.num_seqs = num_seqs,
                                      .num_decode_seqs = num_decode_seqs,
                                      .max_query_len = max_query_len,
                                      .query_start_loc = head(query_start_loc_, num_seqs + 1),
                                      .seq_lens = head(seq_lens_, num_seqs),
                                      .block_table = head(block_tables_[group], num_seqs)};
  }
}

void InputBatch::pad_to(int num_seqs) {
  const int first = batch_.num_tokens;
  CHECK(num_seqs <= std::min(max_num_seqs_, max_num_tokens_), num_seqs, " sequences");
  for (int i = first; i < num_seqs; ++i) {
    token_ids_.host().as<int32_t>()[i] = 0;
    token_sources_.host().as<int32_t>()[i] = -1;
    positions_.host().as<int32_t>()[i] = 0;
    query_start_loc_.host().as<int32_t>()[i] = i;
    seq_lens_.host().as<int32_t>()[i] = 1;
    for (size_t group = 0; group < batch_.groups.size(); ++group) {
      slot_mappings_[group].host().as<int32_t>()[i] = 0;
      block_tables_[group].host().row<int32_t>(i)[0] = 0;
    }
  }
  set_size(num_seqs, num_seqs, 1, num_seqs);
}

void InputBatch::upload(Stream& stream) const {
  if (stream.device().is_host()) return;
  arena_.upload(stream);
  const int64_t rows = batch_.groups.front().attention.num_seqs;
  for (const MirroredTensor& table : block_tables_) {
    constexpr int64_t kIdBytes = size_of(DType::kI32);
    stream.device().copy_rows(stream.queue(), table.device().data, table.host().data,
                              table.host().row_stride * kIdBytes,
                              std::max(num_used_blocks_, 1) * kIdBytes, rows);
  }
}

void InputBatch::plan_attention(const KernelTable& kernels, Stream& stream,
                                std::span<const AttentionLayerShape> layers) {
  if (kernels.plan_attention == nullptr) return;
  for (size_t group = 0; group < batch_.groups.size(); ++group) {
    const auto first = static_cast<size_t>(
        std::ranges::find(batch_.layers, static_cast<int>(group), &ForwardBatch::Layer::group) -
        batch_.layers.begin());
    AttentionBatch& attention = batch_.groups[group].attention;
    attention.plan =
        kernels.plan_attention(stream, {.batch = &attention,
                                        .shape = {.num_heads = layers[first].num_heads,
                                                  .num_kv_heads = layers[first].num_kv_heads,
                                                  .head_dim = layers[first].head_dim,
                                                  .sliding_window = layers[first].sliding_window,
                                                  .dtype = batch_.layers[first].cache.dtype}});
  }
}

void InputBatch::gather_tokens(const ScheduledRow& scheduled, const RequestRow& row,
                               int first_token) {
  const int begin = scheduled.num_computed_tokens;
  const int count = scheduled.num_scheduled_tokens;
  CHECK(begin + count <= row.num_tokens(), "request ", scheduled.id, ": tokens ", begin, " + ",
        count, " of ", row.num_tokens());
  const int num_known = std::min(count, static_cast<int>(row.token_ids.size()) - begin);
  auto* token_ids = token_ids_.host().as<int32_t>() + first_token;
  auto* sources = token_sources_.host().as<int32_t>() + first_token;
  std::copy_n(row.token_ids.data() + begin, num_known, token_ids);
  std::fill_n(sources, num_known, -1);
  if (num_known < count) {
    token_ids[num_known] = 0;
    sources[num_known] = row.index_in_flight;
  }
  auto* positions = positions_.host().as<int32_t>() + first_token;
  for (int t = 0; t < count; ++t) positions[t] = begin + t;
  for (size_t group = 0; group < slot_mappings_.size(); ++group) {
    const std::vector<int32_t>& blocks = row.block_ids[group];
    auto* slots = slot_mappings_[group].host().as<int32_t>() + first_token;
    for (int t = 0; t < count; ++t) {
      const int position = begin + t;
      const auto block = static_cast<size_t>(position / block_size_);
      DCHECK(block < blocks.size(), "no block for position ", position);
      slots[t] = blocks[block] * block_size_ + position % block_size_;
    }
  }
}

void InputBatch::gather_blocks(const ScheduledRow& scheduled, const RequestRow& row, size_t seq) {
  const int seq_len = scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
  const int num_blocks = (seq_len + block_size_ - 1) / block_size_;
  num_used_blocks_ = std::max(num_used_blocks_, num_blocks);
  for (size_t group = 0; group < block_tables_.size(); ++group) {
    const std::vector<int32_t>& blocks = row.block_ids[group];
    CHECK(num_blocks <= static_cast<int>(blocks.size()) &&
              num_blocks <= block_tables_[group].host().shape[1],
          "request ", scheduled.id, ": ", seq_len, " tokens in ", blocks.size(), " blocks");
    std::copy_n(blocks.data(), num_blocks,
                block_tables_[group].host().row<int32_t>(static_cast<int64_t>(seq)));
  }
}

std::vector<ForwardBatch::Layer> make_forward_layers(const KVCacheSpec& spec,
                                                     std::span<const AttentionLayerShape> layers,
                                                     DType dtype, std::byte* arena) {
  std::vector<ForwardBatch::Layer> result(layers.size());
  for (size_t group = 0; group < spec.groups.size(); ++group) {
    const std::vector<int>& members = spec.groups[group].layer_indices;
    for (size_t i = 0; i < members.size(); ++i) {
      const AttentionLayerShape& shape = layers[static_cast<size_t>(members[i])];
      result[static_cast<size_t>(members[i])] = {
          .group = static_cast<int>(group),
          .cache = {.arena = arena,
                    .block_bytes = spec.block_bytes,
                    .layer_offset = static_cast<int64_t>(i) * spec.layer_bytes_per_block,
                    .block_size = spec.block_size,
                    .num_kv_heads = shape.num_kv_heads,
                    .head_dim = shape.head_dim,
                    .dtype = dtype}};
    }
  }
  return result;
}

}  // namespace quire
