#include "engine/adapter_batch.h"

#include <algorithm>
#include <utility>

#include "engine/lora_adapter.h"

namespace quire {
namespace {

constexpr int64_t kTileWords = sizeof(LoraTile) / sizeof(int32_t);
constexpr int64_t kPlaceWords = sizeof(LoraTokenPlace) / sizeof(int32_t);

// Every adapter's last tile may be short.
int max_tiles(const AdapterBatchConfig& config, int max_tokens) {
  return std::min(max_tokens, config.max_num_seqs + max_tokens / kLoraTileTokens);
}

int64_t tiles_bytes(const AdapterBatchConfig& config, int max_tokens) {
  return MirroredArena::space(2, DType::kI32) +
         MirroredArena::space(max_tiles(config, max_tokens) * kTileWords, DType::kI32) +
         MirroredArena::space(max_tokens, DType::kI32);
}

}  // namespace

AdapterBatch::AdapterBatch(const AdapterBatchConfig& config, const Device& device)
    : config_(config),
      arena_(device, MirroredArena::space(kMaxDeferredTokens * kPlaceWords, DType::kI32) +
                         tiles_bytes(config, config.max_num_tokens) +
                         tiles_bytes(config, config.max_num_seqs)),
      places_(arena_.take({kMaxDeferredTokens, kPlaceWords}, DType::kI32)),
      tokens_(take_tiles(config, config.max_num_tokens)),
      logit_rows_(take_tiles(config, config.max_num_seqs)) {}

AdapterBatch::Tiles AdapterBatch::take_tiles(const AdapterBatchConfig& config, int max_tokens) {
  Tiles tiles{.num_tiles = arena_.take({2}, DType::kI32),
              .tiles = arena_.take({max_tiles(config, max_tokens), kTileWords}, DType::kI32),
              .tokens = arena_.take({max_tokens}, DType::kI32),
              .batch = {.arena = config.arena, .dtype = config.dtype}};
  tiles.batch.num_tiles = tiles.num_tiles.device();
  tiles.batch.tiles = tiles.tiles.device();
  tiles.batch.tokens = tiles.tokens.device();
  return tiles;
}

bool AdapterBatch::build(const SchedulerOutput& step, std::span<RequestRow* const> rows) {
  find_spans(step, rows);
  if (spans_.empty()) return false;
  std::ranges::sort(spans_, {},
                    [](const Span& span) { return std::pair(span.directory, span.first_token); });
  arena_.flip();
  fill(tokens_, [](const Span& span, const auto& add) {
    for (int i = 0; i < span.num_tokens; ++i) add(span.first_token + i);
  });
  fill(logit_rows_, [](const Span& span, const auto& add) {
    if (span.logit_row >= 0) add(span.logit_row);
  });
  fill_places(step.total_num_scheduled_tokens);
  return true;
}

void AdapterBatch::find_spans(const SchedulerOutput& step, std::span<RequestRow* const> rows) {
  spans_.clear();
  int first_token = 0;
  int num_logit_rows = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const ScheduledRow& scheduled = step.rows[i];
    const int logit_row = scheduled.samples ? num_logit_rows++ : -1;
    const auto& adapter = rows[i]->request->adapter;
    if (adapter) {
      const int num_before = std::clamp(adapter->first_token - scheduled.num_computed_tokens, 0,
                                        scheduled.num_scheduled_tokens);
      if (num_before < scheduled.num_scheduled_tokens) {
        const AdapterLayout& layout = adapter->weights->layout();
        const AdapterAddress address(layout, *rows[i]->adapter_place, config_.block_bytes);
        spans_.push_back({.directory = address.of(layout.directory),
                          .rank = adapter->weights->max_rank(),
                          .first_token = first_token + num_before,
                          .num_tokens = scheduled.num_scheduled_tokens - num_before,
                          .logit_row = logit_row});
      }
    }
    first_token += scheduled.num_scheduled_tokens;
  }
}

template <typename ForEachRow>
void AdapterBatch::fill(Tiles& tiles, const ForEachRow& for_each_row) {
  tiles.batch.max_num_tiles = tiles.batch.max_num_tokens = tiles.batch.max_rank = 0;
  auto* num_tiles = tiles.num_tiles.host().as<int32_t>();
  for (const bool has_few : {false, true}) {
    for (auto begin = spans_.begin(); begin != spans_.end();) {
      const auto end = std::find_if(begin, spans_.end(), [&](const Span& span) {
        return span.directory != begin->directory;
      });
      int count = 0;
      for (const Span& span : std::span(begin, end)) for_each_row(span, [&](int) { ++count; });
      if (lora_has_few(count, begin->rank) == has_few) add_tiles(tiles, {begin, end}, for_each_row);
      begin = end;
    }
    if (!has_few) num_tiles[1] = tiles.batch.max_num_tiles;
  }
  num_tiles[0] = tiles.batch.max_num_tiles;
}

template <typename ForEachRow>
void AdapterBatch::add_tiles(Tiles& tiles, std::span<const Span> spans,
                             const ForEachRow& for_each_row) {
  auto* tokens = tiles.tokens.host().as<int32_t>();
  auto* tile = tiles.tiles.host().as<LoraTile>();
  LoraBatch& batch = tiles.batch;
  int room = 0;  // in the last tile
  for (const Span& span : spans) {
    for_each_row(span, [&](int token) {
      if (room == 0) {
        tile[batch.max_num_tiles++] = {
            .parts = span.directory, .begin = batch.max_num_tokens, .count = 0};
        room = kLoraTileTokens;
      }
      --room;
      ++tile[batch.max_num_tiles - 1].count;
      tokens[batch.max_num_tokens++] = token;
      batch.max_rank = std::max(batch.max_rank, span.rank);
    });
  }
}

void AdapterBatch::fill_places(int num_tokens) {
  tokens_.batch.places = {};
  if (num_tokens > kMaxDeferredTokens) return;
  tokens_.batch.places = places_.device();
  auto* places = reinterpret_cast<LoraTokenPlace*>(places_.host().data);
  std::fill_n(places, kMaxDeferredTokens, LoraTokenPlace{});
  const std::span tiles(tokens_.tiles.host().as<const LoraTile>(),
                        static_cast<size_t>(tokens_.batch.max_num_tiles));
  place_tokens(tiles, tokens_.tokens.host().as<const int32_t>(), places);
}

void AdapterBatch::set_recorded(int num_seqs) {
  tokens_.batch.places = num_seqs <= kMaxDeferredTokens ? places_.device() : TensorView{};
  for (Tiles* tiles : {&tokens_, &logit_rows_}) {
    tiles->batch.max_num_tiles = num_seqs;
    tiles->batch.max_num_tokens = num_seqs;
    tiles->batch.max_rank = config_.max_rank;
  }
}

void AdapterBatch::upload(Stream& stream) const {
  if (!stream.device().is_host()) arena_.upload(stream);
}

}  // namespace quire
