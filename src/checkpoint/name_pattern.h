// Regular expressions over module names, as PEFT's configurations have them.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// Matches as Python's re.fullmatch does, for ASCII.  Supported: literals, `.`, classes, \d \w \s
// \b and their opposites, groups, alternatives, greedy and lazy quantifiers, ^ $ \A \Z and
// lookahead.  Matching follows all paths at once, so no pattern takes exponential time.
// Immutable.  Source: https://docs.python.org/3/library/re.html.
class NamePattern {
 public:
  // Throws LoadError that begins with `where` if the pattern is no regular expression or uses
  // anything else: backreferences, lookbehind, flags, possessive quantifiers.
  NamePattern(std::string pattern, const std::string& where);

  const std::string& text() const { return pattern_; }
  // Throws LoadError if that takes too many steps, or the name is absurdly long.
  bool matches(std::string_view name) const;

 private:
  friend class NamePatternParser;
  friend class NamePatternMatcher;
  enum class Kind : uint8_t {
    kClass,         // one character of `characters`
    kSequence,      // all children, in order
    kAlternatives,  // one of the children
    kRepeat,        // the child, min to max times
    kStart,
    kEnd,
    kWordBoundary,
    kLookahead,  // the child follows, and is not consumed
  };
  using Characters = std::bitset<128>;
  struct Node {
    Kind kind = Kind::kSequence;
    bool negated = false;  // of kWordBoundary and kLookahead
    int min = 0;
    int max = 0;
    Characters characters = {};
    std::vector<uint32_t> children = {};  // indices into nodes_
  };

  std::string pattern_;
  std::string where_;
  std::vector<Node> nodes_;
  uint32_t root_ = 0;
};

}  // namespace quire
