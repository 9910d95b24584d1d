// Order and meaning as in vLLM's sampler: allowed_token_ids, bad_words, min_tokens, logit_bias,
// penalties.
#include "engine/logits_processors.h"

#include <algorithm>
#include <array>
#include <limits>

namespace quire {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

bool has_allowed_token_ids(const RequestRow& row) {
  return !row.params().allowed_token_ids.empty();
}

// Requires: the ids are ascending without duplicates (InputProcessor sorts them).
void keep_allowed_token_ids(const RequestRow& row, std::span<float> logits) {
  size_t next = 0;  // first id not yet decided
  for (const int32_t id : row.params().allowed_token_ids) {
    std::fill(logits.begin() + static_cast<int64_t>(next), logits.begin() + id, kMasked);
    next = static_cast<size_t>(id) + 1;
  }
  std::fill(logits.begin() + static_cast<int64_t>(next), logits.end(), kMasked);
}

void collect_allowed(const RequestRow& row, LogitAdjustments& adjustments) {
  adjustments.allowed = row.params().allowed_token_ids;
}

bool has_bad_words(const RequestRow& row) { return !row.request->bad_words_token_ids.empty(); }

// Calls mask(id) with the last token of each bad word whose other tokens are the latest generated
// ones.
template <typename Mask>
void for_each_bad_token(const RequestRow& row, const Mask& mask) {
  const std::span<const int32_t> output = row.output_token_ids();
  for (const std::vector<int32_t>& word : row.request->bad_words_token_ids) {
    const size_t prefix = word.size() - 1;
    if (prefix > output.size()) continue;
    const auto tail = output.last(prefix);
    if (std::equal(tail.begin(), tail.end(), word.begin())) {
      mask(word.back());
    }
  }
}

void mask_bad_words(const RequestRow& row, std::span<float> logits) {
  for_each_bad_token(row, [&](int32_t id) { logits[static_cast<size_t>(id)] = kMasked; });
}

void collect_bad_words(const RequestRow& row, LogitAdjustments& adjustments) {
  for_each_bad_token(row, [&](int32_t id) { adjustments.masked.push_back(id); });
}

bool is_below_min_tokens(const RequestRow& row) {
  return row.num_output_tokens() < row.params().min_tokens;
}

void mask_stop_tokens(const RequestRow& row, std::span<float> logits) {
  for (const int32_t id : row.request->eos_token_ids) logits[static_cast<size_t>(id)] = kMasked;
  for (const int32_t id : row.params().stop_token_ids) logits[static_cast<size_t>(id)] = kMasked;
}

void collect_stop_tokens(const RequestRow& row, LogitAdjustments& adjustments) {
  std::vector<int32_t>& masked = adjustments.masked;
  masked.insert(masked.end(), row.request->eos_token_ids.begin(), row.request->eos_token_ids.end());
  masked.insert(masked.end(), row.params().stop_token_ids.begin(),
                row.params().stop_token_ids.end());
}

bool has_logit_bias(const RequestRow& row) { return !row.params().logit_bias.empty(); }

void add_logit_bias(const RequestRow& row, std::span<float> logits) {
  for (const auto& [id, bias] : row.params().logit_bias) logits[static_cast<size_t>(id)] += bias;
}

void collect_logit_bias(const RequestRow& row, LogitAdjustments& adjustments) {
  adjustments.biased.assign(row.params().logit_bias.begin(), row.params().logit_bias.end());
}

bool has_penalties(const RequestRow& row) { return row.tracks_token_uses; }

void apply_penalties(const RequestRow& row, std::span<float> logits) {
  const SamplingParams& params = row.params();
  for (const auto& [id, use] : row.token_uses) {
    float& logit = logits[static_cast<size_t>(id)];
    logit = logit > 0.0F ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.frequency_penalty * static_cast<float>(use.num_output);
    if (use.num_output > 0) logit -= params.presence_penalty;
  }
}

void collect_penalties(const RequestRow& row, LogitAdjustments& adjustments) {
  for (const auto& [id, use] : row.token_uses) {
    adjustments.penalized.emplace_back(id, static_cast<float>(use.num_output));
  }
}

constexpr std::array kProcessors = {
    LogitsProcessor{"allowed_token_ids", has_allowed_token_ids, keep_allowed_token_ids,
                    collect_allowed},
    LogitsProcessor{"bad_words", has_bad_words, mask_bad_words, collect_bad_words},
    LogitsProcessor{"min_tokens", is_below_min_tokens, mask_stop_tokens, collect_stop_tokens},
    LogitsProcessor{"logit_bias", has_logit_bias, add_logit_bias, collect_logit_bias},
    LogitsProcessor{"penalties", has_penalties, apply_penalties, collect_penalties},
};

}  // namespace

std::span<const LogitsProcessor> logits_processors() { return kProcessors; }

}  // namespace quire
