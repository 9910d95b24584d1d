#include "text/pre_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/component.h"
#include "text/split_pattern.h"
#include "text/unicode.h"

namespace quire {
namespace {

using Json = nlohmann::json;

// What becomes of the text that a pattern matches.  Source: huggingface/tokenizers
// SplitDelimiterBehavior.
enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

Behavior behavior_of(const std::string& name) {
  if (name == "Removed") return Behavior::kRemoved;
  if (name == "Isolated") return Behavior::kIsolated;
  if (name == "MergedWithPrevious") return Behavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return Behavior::kMergedWithNext;
  if (name == "Contiguous") return Behavior::kContiguous;
  throw LoadError("pre_tokenizer behavior '" + name + "' is not supported");
}

struct Part {
  ByteRange range;
  bool is_match;
};

// The whole of a text of `size` bytes as alternating matches and rests.
std::vector<Part> cover(const std::vector<ByteRange>& matches, size_t size, bool invert) {
  std::vector<Part> parts;
  parts.reserve(matches.size() * 2 + 1);
  size_t covered = 0;
  for (const ByteRange& match : matches) {
    if (covered < match.start) parts.push_back({{covered, match.start}, invert});
    parts.push_back({match, !invert});
    covered = match.end;
  }
  if (covered < size) parts.push_back({{covered, size}, invert});
  return parts;
}

std::vector<Part> merge_parts(std::vector<Part> parts, Behavior behavior) {
  if (behavior == Behavior::kIsolated) return parts;
  if (behavior == Behavior::kRemoved) {
    std::erase_if(parts, [](const Part& part) { return part.is_match; });
    return parts;
  }
  const bool backwards = behavior == Behavior::kMergedWithNext;
  if (backwards) std::reverse(parts.begin(), parts.end());
  std::vector<Part> merged;
  bool previous_match = false;
  for (const Part& part : parts) {
    const bool joins = behavior == Behavior::kContiguous ? part.is_match == previous_match
                                                         : part.is_match && !previous_match;
    if (joins && !merged.empty()) {
      ByteRange& last = merged.back().range;
      last = {std::min(last.start, part.range.start), std::max(last.end, part.range.end)};
    } else {
      merged.push_back(part);
    }
    previous_match = part.is_match;
  }
  if (backwards) std::reverse(merged.begin(), merged.end());
  return merged;
}

void append_parts(const Piece& piece, const std::vector<Part>& parts, std::vector<Piece>& out) {
  for (const Part& part : parts) {
    const auto [start, end] = part.range;
    if (start == end) continue;
    out.push_back({piece.text.substr(start, end - start), piece.at_text_start && start == 0});
  }
}

// Calls body(piece, out) for every piece and keeps what it appends to out.
template <typename Body>
void for_each_piece(PieceList& list, const Body& body) {
  std::vector<Piece> out;
  for (const Piece& piece : list.pieces) body(piece, out);
  list.pieces = std::move(out);
}

void map_to_byte_alphabet(PieceList& list) {
  for (Piece& piece : list.pieces)
    piece.text = list.rewritten.emplace_back(to_byte_alphabet(piece.text));
}

class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(const Json& config) {
    for (const Json& part : config.at("pretokenizers")) {
      if (auto made = make_pre_tokenizer(part)) parts_.push_back(std::move(made));
    }
  }
  void split(PieceList& list) const override {
    for (const auto& part : parts_) part->split(list);
  }
  bool drop_final_byte_mapping() override {
    return !parts_.empty() && parts_.back()->drop_final_byte_mapping();
  }

 private:
  std::vector<std::unique_ptr<PreTokenizer>> parts_;
};

class Split final : public PreTokenizer {
 public:
  Split(SplitPattern pattern, Behavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}
  void split(PieceList& list) const override {
    for_each_piece(list, [&](const Piece& piece, std::vector<Piece>& out) {
      const auto matches = pattern_.find_all(piece.text);
      append_parts(piece, merge_parts(cover(matches, piece.text.size(), invert_), behavior_), out);
    });
  }

 private:
  SplitPattern pattern_;
  Behavior behavior_;
  bool invert_;
};

// Splits at characters that satisfy a predicate.
class CharSplit final : public PreTokenizer {
 public:
  using Predicate = bool (*)(char32_t);
  CharSplit(Predicate predicate, Behavior behavior) : predicate_(predicate), behavior_(behavior) {}
  void split(PieceList& list) const override {
    for_each_piece(list, [&](const Piece& piece, std::vector<Piece>& out) {
      std::vector<ByteRange> matches;
      for (size_t i = 0; i < piece.text.size();) {
        const Utf8Char c = utf8_at(piece.text, i);
        if (predicate_(c.value)) matches.push_back({i, i + c.num_bytes});
        i += c.num_bytes;
      }
      append_parts(piece, merge_parts(cover(matches, piece.text.size(), false), behavior_), out);
    });
  }

 private:
  Predicate predicate_;
  Behavior behavior_;
};

class ByteLevel final : public PreTokenizer {
 public:
  explicit ByteLevel(const Json& config)
      : add_prefix_space_(config.value("add_prefix_space", true)) {
    if (config.value("use_regex", true)) pattern_ = SplitPattern::regex(std::string(kGpt2Pattern));
  }
  void split(PieceList& list) const override {
    for_each_piece(list, [&](Piece piece, std::vector<Piece>& out) {
      if (add_prefix_space_ && !piece.text.starts_with(' ')) {
        piece.text = list.rewritten.emplace_back(" " + std::string(piece.text));
      }
      if (!pattern_) {
        out.push_back(piece);
      } else {
        append_parts(piece, cover(pattern_->find_all(piece.text), piece.text.size(), false), out);
      }
    });
    if (maps_bytes_) map_to_byte_alphabet(list);
  }
  bool drop_final_byte_mapping() override {
    maps_bytes_ = false;
    return true;
  }

 private:
  bool add_prefix_space_;
  bool maps_bytes_ = true;
  std::optional<SplitPattern> pattern_;
};

class Metaspace final : public PreTokenizer {
 public:
  explicit Metaspace(const Json& config)
      : replacement_(config.at("replacement").get<std::string>()),
        scheme_(config.value("prepend_scheme", "always")),
        split_(config.value("split", true)),
        space_(SplitPattern::literal(" ")),
        word_(SplitPattern::literal(replacement_)) {
    if (!config.value("add_prefix_space", true)) scheme_ = "never";
  }
  void split(PieceList& list) const override {
    for_each_piece(list, [&](Piece piece, std::vector<Piece>& out) {
      std::string text = replace_matches(piece.text, space_.find_all(piece.text), replacement_);
      const bool prepends = scheme_ == "always" || (scheme_ == "first" && piece.at_text_start);
      if (prepends && !text.starts_with(replacement_)) text.insert(0, replacement_);
      piece.text = list.rewritten.emplace_back(std::move(text));
      if (!split_) {
        out.push_back(piece);
        return;
      }
      const auto parts = cover(word_.find_all(piece.text), piece.text.size(), false);
      append_parts(piece, merge_parts(parts, Behavior::kMergedWithNext), out);
    });
  }

 private:
  std::string replacement_;
  std::string scheme_;
  bool split_;
  SplitPattern space_;
  SplitPattern word_;
};

bool is_number(char32_t c) { return (char_class(c) & kNumber) != 0; }
bool is_punctuation(char32_t c) {
  const bool ascii_symbol =
      c < 0x80 && c > 0x20 && c != 0x7F && (char_class(c) & (kLetter | kNumber)) == 0;
  return ascii_symbol || (char_class(c) & kPunctuation) != 0;
}

std::unique_ptr<PreTokenizer> make_split(const Json& config) {
  return std::make_unique<Split>(split_pattern_of(config.at("pattern")),
                                 behavior_of(config.at("behavior").get<std::string>()),
                                 config.value("invert", false));
}
std::unique_ptr<PreTokenizer> make_digits(const Json& config) {
  return std::make_unique<CharSplit>(is_number, config.value("individual_digits", false)
                                                    ? Behavior::kIsolated
                                                    : Behavior::kContiguous);
}
std::unique_ptr<PreTokenizer> make_punctuation(const Json& config) {
  return std::make_unique<CharSplit>(is_punctuation,
                                     behavior_of(config.value("behavior", "Isolated")));
}
std::unique_ptr<PreTokenizer> make_whitespace_split(const Json&) {
  return std::make_unique<CharSplit>(is_space, Behavior::kRemoved);
}
std::unique_ptr<PreTokenizer> make_whitespace(const Json&) {
  return std::make_unique<Split>(SplitPattern::regex(R"(\w+|[^\w\s]+)"), Behavior::kRemoved, true);
}
std::unique_ptr<PreTokenizer> make_char_delimiter(const Json& config) {
  return std::make_unique<Split>(SplitPattern::literal(config.at("delimiter").get<std::string>()),
                                 Behavior::kRemoved, false);
}
template <typename T>
std::unique_ptr<PreTokenizer> make(const Json& config) {
  return std::make_unique<T>(config);
}

constexpr ComponentRow<PreTokenizer> kPreTokenizers[] = {
    {"Sequence", make<Sequence>},
    {"ByteLevel", make<ByteLevel>},
    {"Metaspace", make<Metaspace>},
    {"Split", make_split},
    {"Digits", make_digits},
    {"Punctuation", make_punctuation},
    {"Whitespace", make_whitespace},
    {"WhitespaceSplit", make_whitespace_split},
    {"CharDelimiterSplit", make_char_delimiter},
};

}  // namespace

std::unique_ptr<PreTokenizer> make_pre_tokenizer(const Json& config) {
  return make_component<PreTokenizer>(kPreTokenizers, "pre_tokenizer", config);
}

}  // namespace quire
