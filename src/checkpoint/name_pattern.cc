#include "checkpoint/name_pattern.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

// An alternative for each of a thousand modules is far below this.
constexpr size_t kMaxPatternBytes = 1 << 16;
// Parsing and matching recurse by group.
constexpr int kMaxGroupDepth = 64;
// Above any count that a name could need.
constexpr int kMaxRepeats = 1000;
// Names of modules have some 60 characters.
constexpr size_t kMaxNameBytes = 512;
// Visits of nodes for one name, each O(kMaxNameBytes): some 0.1 s at worst.
constexpr int kMaxSteps = 200'000;
constexpr int kUnbounded = std::numeric_limits<int>::max();

bool is_digit(int c) { return c >= '0' && c <= '9'; }
bool is_letter(int c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_word(int c) { return is_letter(c) || is_digit(c) || c == '_'; }
bool is_space(int c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f); }
bool is_punctuation(int c) { return c > ' ' && c < 0x7f && !is_letter(c) && !is_digit(c); }

template <typename Predicate>
std::bitset<128> characters_that(Predicate predicate) {
  std::bitset<128> characters;
  for (int c = 0; c < 128; ++c) characters[static_cast<size_t>(c)] = predicate(c);
  return characters;
}

// What \d, \w, \s and their opposites stand for; none for other escapes.
std::optional<std::bitset<128>> class_of_escape(char c) {
  switch (c) {
    case 'd':
      return characters_that(is_digit);
    case 'D':
      return ~characters_that(is_digit);
    case 'w':
      return characters_that(is_word);
    case 'W':
      return ~characters_that(is_word);
    case 's':
      return characters_that(is_space);
    case 'S':
      return ~characters_that(is_space);
    default:
      return std::nullopt;
  }
}

std::bitset<128> only(char c) { return std::bitset<128>().set(static_cast<size_t>(c)); }

}  // namespace

class NamePatternParser {
 public:
  explicit NamePatternParser(NamePattern& pattern) : out_(pattern), rest_(pattern.pattern_) {}

  void parse() {
    if (rest_.size() > kMaxPatternBytes) {
      fail("has " + std::to_string(rest_.size()) + " bytes, the limit is " +
           std::to_string(kMaxPatternBytes));
    }
    for (const char c : rest_) {
      if (static_cast<signed char>(c) <= 0) fail("has a character that is not ASCII");
    }
    out_.root_ = parse_alternatives();
    if (!rest_.empty()) fail("has a ')' too many");
  }

 private:
  using Kind = NamePattern::Kind;
  using Node = NamePattern::Node;

  [[noreturn]] void fail(const std::string& problem) const {
    constexpr size_t kMaxShownBytes = 200;
    std::string shown = out_.pattern_.substr(0, kMaxShownBytes);
    std::ranges::replace_if(
        shown, [](char c) { return c < ' ' || c == 0x7f; }, '?');
    if (shown.size() < out_.pattern_.size()) shown += "...";
    throw LoadError(out_.where_ + "pattern '" + shown + "' " + problem);
  }

  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  char take_any() {
    if (rest_.empty()) fail("ends too early");
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }
  uint32_t add(Node node) {
    out_.nodes_.push_back(std::move(node));
    return static_cast<uint32_t>(out_.nodes_.size() - 1);
  }
  uint32_t add_class(const NamePattern::Characters& characters) {
    return add({.kind = Kind::kClass, .characters = characters});
  }

  uint32_t parse_alternatives() {
    Node alternatives{.kind = Kind::kAlternatives};
    do {
      alternatives.children.push_back(parse_sequence());
    } while (take("|"));
    return alternatives.children.size() == 1 ? alternatives.children[0]
                                             : add(std::move(alternatives));
  }

  uint32_t parse_sequence() {
    Node sequence{.kind = Kind::kSequence};
    while (!rest_.empty() && rest_.front() != '|' && rest_.front() != ')') {
      sequence.children.push_back(parse_quantifier(parse_atom()));
    }
    return add(std::move(sequence));
  }

  uint32_t parse_atom() {
    const char c = take_any();
    switch (c) {
      case '(':
        return parse_group();
      case '[':
        return parse_class();
      case '\\':
        return parse_escape();
      case '.':
        return add_class(~only('\n'));
      case '^':
        return add({.kind = Kind::kStart});
      case '$':
        return add({.kind = Kind::kEnd});
      case '*':
      case '+':
      case '?':
      case '{':
        fail(std::string("has a '") + c + "' that repeats nothing; write \\" + c +
             " for the character");
      default:
        return add_class(only(c));
    }
  }

  uint32_t parse_group() {
    if (++depth_ > kMaxGroupDepth) {
      fail("nests groups deeper than " + std::to_string(kMaxGroupDepth));
    }
    bool lookahead = false;
    bool negated = false;
    if (take("?")) {
      const char c = take_any();
      lookahead = c == '=' || c == '!';
      negated = c == '!';
      if (!lookahead && c != ':') {
        fail(std::string("has a group '(?") + c + "'; (?: (?= and (?! are supported");
      }
    }
    uint32_t group = parse_alternatives();
    if (!take(")")) fail("lacks a ')'");
    --depth_;
    if (!lookahead) return group;
    return add({.kind = Kind::kLookahead, .negated = negated, .children = {group}});
  }

  uint32_t parse_escape() {
    const char c = take_any();
    if (const auto characters = class_of_escape(c)) return add_class(*characters);
    if (is_punctuation(c)) return add_class(only(c));
    switch (c) {
      case 'b':
      case 'B':
        return add({.kind = Kind::kWordBoundary, .negated = c == 'B'});
      case 'A':
        return add({.kind = Kind::kStart});
      case 'Z':
        return add({.kind = Kind::kEnd});
      default:
        fail(std::string("has the escape '\\") + c + "', which is not supported");
    }
  }

  // One character of a class, or none after adding a class such as \d to `characters`.
  std::optional<char> parse_class_item(NamePattern::Characters& characters) {
    const char c = take_any();
    if (c != '\\') return c;
    const char escaped = take_any();
    if (const auto more = class_of_escape(escaped)) {
      characters |= *more;
      return std::nullopt;
    }
    if (!is_punctuation(escaped)) {
      fail(std::string("has the escape '\\") + escaped + "' in [], which is not supported");
    }
    return escaped;
  }

  uint32_t parse_class() {
    NamePattern::Characters characters;
    const bool negated = take("^");
    bool first = true;  // a ']' is then a character
    while (first || !take("]")) {
      first = false;
      const std::optional<char> low = parse_class_item(characters);
      const bool range = rest_.size() >= 2 && rest_[0] == '-' && rest_[1] != ']';
      if (!range) {
        if (low) characters |= only(*low);
        continue;
      }
      take("-");
      const std::optional<char> high = parse_class_item(characters);
      if (!low || !high || *low > *high) fail("has a bad range in []");
      for (int c = *low; c <= *high; ++c) characters.set(static_cast<size_t>(c));
    }
    return add_class(negated ? ~characters : characters);
  }

  std::optional<int> parse_count() {
    std::optional<int> count;
    while (!rest_.empty() && is_digit(rest_.front())) {
      count = count.value_or(0) * 10 + (take_any() - '0');
      if (*count > kMaxRepeats) fail("repeats more than " + std::to_string(kMaxRepeats) + " times");
    }
    return count;
  }

  uint32_t parse_quantifier(uint32_t atom) {
    Node repeat{.kind = Kind::kRepeat, .max = kUnbounded, .children = {atom}};
    if (take("+")) {
      repeat.min = 1;
    } else if (take("?")) {
      repeat.max = 1;
    } else if (take("{")) {
      const std::optional<int> min = parse_count();
      const bool comma = take(",");
      const std::optional<int> max = comma ? parse_count() : min;
      if (!take("}") || (!min && !max)) fail("has a '{' that is no count; write \\{");
      repeat.min = min.value_or(0);
      repeat.max = max.value_or(kUnbounded);
      if (repeat.min > repeat.max) fail("has a count whose least exceeds its most");
    } else if (!take("*")) {
      return atom;
    }
    const Kind kind = out_.nodes_[atom].kind;
    if (kind == Kind::kStart || kind == Kind::kEnd || kind == Kind::kWordBoundary) {
      fail("repeats an anchor");
    }
    take("?");  // lazy: the same names match
    if (!rest_.empty() && std::string_view("*+?{").find(rest_.front()) != std::string_view::npos) {
      fail(std::string("has a '") + rest_.front() + "' after a quantifier, not supported");
    }
    return add(std::move(repeat));
  }

  NamePattern& out_;
  std::string_view rest_;
  int depth_ = 0;
};

// Maps the set of positions where a node may begin to the set of those where it may end.
class NamePatternMatcher {
 public:
  NamePatternMatcher(const NamePattern& pattern, std::string_view name)
      : pattern_(pattern), name_(name) {}

  bool matches_all() { return ends(pattern_.root_, Positions().set(0)).test(name_.size()); }

 private:
  using Kind = NamePattern::Kind;
  using Node = NamePattern::Node;
  using Positions = std::bitset<kMaxNameBytes + 1>;

  Positions ends(uint32_t index, const Positions& from) {
    if (++num_steps_ > kMaxSteps) {
      throw LoadError(pattern_.where_ + "pattern '" + pattern_.pattern_.substr(0, 200) +
                      "' takes too long to match '" + std::string(name_) + "'; simplify it");
    }
    const Node& node = pattern_.nodes_[index];
    switch (node.kind) {
      case Kind::kClass:
        return after_class(node, from);
      case Kind::kSequence: {
        Positions at = from;
        for (const uint32_t child : node.children) {
          if (at.none()) break;
          at = ends(child, at);
        }
        return at;
      }
      case Kind::kAlternatives: {
        Positions at;
        for (const uint32_t child : node.children) at |= ends(child, from);
        return at;
      }
      case Kind::kRepeat:
        return after_repeat(node, from);
      case Kind::kStart:
        return from & Positions().set(0);
      case Kind::kEnd:
        return from & Positions().set(name_.size());
      case Kind::kWordBoundary:
      case Kind::kLookahead:
        return where_holds(node, from);
    }
    return {};
  }

  Positions after_class(const Node& node, const Positions& from) const {
    Positions at;
    for (size_t i = 0; i < name_.size(); ++i) {
      const auto c = static_cast<unsigned char>(name_[i]);
      if (from[i] && c < node.characters.size() && node.characters[c]) at.set(i + 1);
    }
    return at;
  }

  // Ends after as many rounds as the name has characters: by then a position is either reached by
  // matching nothing, again and again, or no more.
  Positions after_repeat(const Node& node, const Positions& from) {
    Positions at = from;
    Positions reached;
    for (int round = 0; round < node.max; ++round) {
      if (round >= node.min) {
        if ((at & ~reached).none()) break;
        reached |= at;
      }
      const Positions next = ends(node.children[0], at);
      if (next == at && round < node.min) break;
      at = next;
      if (at.none()) break;
    }
    return reached | at;
  }

  Positions where_holds(const Node& node, const Positions& from) {
    Positions at;
    for (size_t i = 0; i <= name_.size(); ++i) {
      if (!from[i]) continue;
      const bool holds = node.kind == Kind::kLookahead
                             ? ends(node.children[0], Positions().set(i)).any()
                             : is_word_at(i) != (i > 0 && is_word_at(i - 1));
      at[i] = holds != node.negated;
    }
    return at;
  }
  bool is_word_at(size_t i) const { return i < name_.size() && is_word(name_[i]); }

  const NamePattern& pattern_;
  std::string_view name_;
  int num_steps_ = 0;
};

NamePattern::NamePattern(std::string pattern, const std::string& where)
    : pattern_(std::move(pattern)), where_(where) {
  NamePatternParser(*this).parse();
}

bool NamePattern::matches(std::string_view name) const {
  if (name.size() > kMaxNameBytes) {
    throw LoadError(where_ + "a name of " + std::to_string(name.size()) +
                    " bytes is too long to match");
  }
  return NamePatternMatcher(*this, name).matches_all();
}

}  // namespace quire
