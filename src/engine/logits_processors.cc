// Order and meaning as in vLLM's sampler: allowed_token_ids, bad_words, min_tokens, logit_bias,
// penalties.
#include "engine/logits_processors.h"

#include <algorithm>
#include <array>

namespace quire {
namespace {

bool has_allowed_token_ids(const RequestRow& row) {
  return !row.params().allowed_token_ids.empty();
}

void keep_allowed_token_ids(const RequestRow& row, LogitAdjustments& adjustments) {
  adjustments.allowed = row.params().allowed_token_ids;
}

bool has_bad_words(const RequestRow& row) { return !row.request->bad_words_token_ids.empty(); }

// Masks the last token of each bad word whose other tokens are the latest generated ones.
void mask_bad_words(const RequestRow& row, LogitAdjustments& adjustments) {
  const std::span<const int32_t> output = row.output_token_ids();
  for (const std::vector<int32_t>& word : row.request->bad_words_token_ids) {
    const size_t prefix = word.size() - 1;
    if (prefix > output.size()) continue;
    const auto tail = output.last(prefix);
    if (std::equal(tail.begin(), tail.end(), word.begin())) {
      adjustments.masked.push_back(word.back());
    }
  }
}

bool is_below_min_tokens(const RequestRow& row) {
  return row.num_output_tokens() < row.params().min_tokens;
}

void mask_stop_tokens(const RequestRow& row, LogitAdjustments& adjustments) {
  std::vector<int32_t>& masked = adjustments.masked;
  masked.insert(masked.end(), row.request->eos_token_ids.begin(), row.request->eos_token_ids.end());
  masked.insert(masked.end(), row.params().stop_token_ids.begin(),
                row.params().stop_token_ids.end());
}

bool has_logit_bias(const RequestRow& row) { return !row.params().logit_bias.empty(); }

void add_logit_bias(const RequestRow& row, LogitAdjustments& adjustments) {
  adjustments.biased.assign(row.params().logit_bias.begin(), row.params().logit_bias.end());
}

bool has_penalties(const RequestRow& row) { return row.tracks_token_uses; }

void apply_penalties(const RequestRow& row, LogitAdjustments& adjustments) {
  for (const auto& [id, use] : row.token_uses) {
    adjustments.penalized.emplace_back(id, static_cast<float>(use.num_output));
  }
}

constexpr std::array kProcessors = {
    LogitsProcessor{"allowed_token_ids", has_allowed_token_ids, keep_allowed_token_ids},
    LogitsProcessor{"bad_words", has_bad_words, mask_bad_words},
    LogitsProcessor{"min_tokens", is_below_min_tokens, mask_stop_tokens},
    LogitsProcessor{"logit_bias", has_logit_bias, add_logit_bias},
    LogitsProcessor{"penalties", has_penalties, apply_penalties},
};

}  // namespace

std::span<const LogitsProcessor> logits_processors() { return kProcessors; }

}  // namespace quire
