#include "text/detokenizer.h"

#include <utility>

#include "text/token_decoder.h"
#include "text/unicode.h"

namespace quire {
namespace {

constexpr std::string_view kReplacementChar = "\xEF\xBF\xBD";

}  // namespace

Detokenizer::Detokenizer(const Tokenizer& tokenizer, const std::vector<int32_t>& prompt_tail,
                         bool skip_special_tokens, bool spaces_between_special_tokens)
    : tokenizer_(tokenizer),
      rules_(tokenizer.decode_rules()),
      skip_special_tokens_(skip_special_tokens),
      spaces_between_special_tokens_(spaces_between_special_tokens || skip_special_tokens),
      leading_spaces_left_(rules_ != nullptr ? rules_->num_leading_spaces : 0) {
  if (rules_ == nullptr) {
    window_ = prompt_tail;
    num_emitted_ids_ = window_.size();
    return;
  }
  for (const int32_t id : prompt_tail) push(id);
  close_prompt();
}

std::string Detokenizer::push(int32_t token_id) {
  if (skip_special_tokens_ && tokenizer_.is_special(token_id)) return {};
  if (rules_ == nullptr) return push_by_decoding(token_id);
  std::string text = tokenizer_.token_bytes(token_id);
  const bool is_fallback_byte = rules_->byte_fallback && text.size() == 1 &&
                                fallback_byte(tokenizer_.id_to_token(token_id)) >= 0;
  if (!is_fallback_byte) {
    if (text.empty()) return {};
    const bool is_added = tokenizer_.is_added(token_id);
    if (at_start_ && !rules_->first_token_drops.empty()) {
      text = text_of(token_id);
    } else if (is_added && last_was_added_ && !spaces_between_special_tokens_) {
      text = tokenizer_.id_to_token(token_id);
    } else if (rules_->joins_with_space && !at_start_) {
      text.insert(0, 1, ' ');
    }
    last_was_added_ = is_added;
  }
  at_start_ = false;
  return join(std::move(text), is_fallback_byte);
}

// The first token of a text, without what the decoder drops there.
std::string Detokenizer::text_of(int32_t token_id) {
  std::string text = tokenizer_.id_to_token(token_id);
  const std::string& dropped = rules_->first_token_drops;
  for (size_t i = 0; (i = text.find(dropped, i)) != std::string::npos;)
    text.erase(i, dropped.size());
  return text;
}

std::string Detokenizer::join(std::string text, bool is_fallback_byte) {
  if (rules_->byte_level) {
    pending_ += text;
    return drop_leading_spaces(take_complete_characters());
  }
  if (is_fallback_byte) {
    pending_ += text;
    return {};
  }
  if (!pending_.empty()) text.insert(0, flush_byte_run());
  return drop_leading_spaces(std::move(text));
}

std::string Detokenizer::drop_leading_spaces(std::string text) {
  if (leading_spaces_left_ == 0 || text.empty()) return text;
  size_t dropped = 0;
  while (leading_spaces_left_ > 0 && dropped < text.size() && text[dropped] == ' ') {
    ++dropped;
    --leading_spaces_left_;
  }
  if (dropped < text.size()) leading_spaces_left_ = 0;
  return text.substr(dropped);
}

std::string Detokenizer::take_complete_characters() {
  std::string out;
  size_t taken = 0;
  while (taken < pending_.size()) {
    const Utf8Step step = utf8_step(std::string_view(pending_).substr(taken));
    if (step.kind == Utf8Step::kIncomplete) break;
    if (step.kind == Utf8Step::kValid) {
      out.append(pending_, taken, step.num_bytes);
    } else {
      out.append(kReplacementChar);
    }
    taken += step.num_bytes;
  }
  pending_.erase(0, taken);
  return out;
}

// A run of byte tokens is text as a whole, or one U+FFFD per byte as a whole.
std::string Detokenizer::flush_byte_run() {
  std::string out;
  if (is_valid_utf8(pending_)) {
    out = std::move(pending_);
  } else {
    for (size_t i = 0; i < pending_.size(); ++i) out.append(kReplacementChar);
  }
  pending_.clear();
  return out;
}

// Of the prompt's text nothing is emitted; only a character that it left incomplete goes on.
void Detokenizer::close_prompt() {
  const std::string text = take_complete_characters();
  if (!text.empty()) drop_leading_spaces(text);
}

std::string Detokenizer::finish() {
  if (rules_ == nullptr) {
    const std::vector<int32_t> emitted(window_.begin(),
                                       window_.begin() + static_cast<ptrdiff_t>(num_emitted_ids_));
    const std::string before = tokenizer_.decode(emitted, skip_special_tokens_);
    const std::string all = tokenizer_.decode(window_, skip_special_tokens_);
    num_emitted_ids_ = window_.size();
    return all.size() > before.size() ? all.substr(before.size()) : std::string();
  }
  if (!rules_->byte_level) return drop_leading_spaces(flush_byte_run());
  std::string out = replace_invalid_utf8(pending_);
  pending_.clear();
  return drop_leading_spaces(std::move(out));
}

// Source: text-generation-inference and vLLM detokenize_incrementally (prefix_offset, read_offset).
std::string Detokenizer::push_by_decoding(int32_t token_id) {
  window_.push_back(token_id);
  const auto emitted_end = window_.begin() + static_cast<ptrdiff_t>(num_emitted_ids_);
  const std::string before =
      tokenizer_.decode({window_.begin(), emitted_end}, skip_special_tokens_);
  const std::string all = tokenizer_.decode(window_, skip_special_tokens_);
  if (all.size() <= before.size() || all.ends_with(kReplacementChar)) return {};
  window_.erase(window_.begin(), emitted_end);
  num_emitted_ids_ = window_.size();
  return all.substr(before.size());
}

}  // namespace quire
