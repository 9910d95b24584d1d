// Finds the first end of a stop string in text that arrives in pieces.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// One object per sequence.  Each byte costs amortised O(number of stop strings).
// Source: Knuth, Morris & Pratt 1977, one automaton per string.
class StopMatcher {
 public:
  explicit StopMatcher(const std::vector<std::string>& stops);

  struct Match {
    size_t stop_index = 0;  // into the list given; the first one if several end at the same byte
    size_t end = 0;         // bytes of the piece up to the end of the match
  };
  // Takes the next piece in; returns true if a stop string ends in it, and then the state is spent.
  // With `ignore`, matches are passed over.
  bool push(std::string_view piece, bool ignore, Match& match);
  // Bytes at the end of the text so far that may be the beginning of a stop string.
  size_t num_held_bytes() const;

 private:
  struct Automaton {
    std::string stop;
    std::vector<size_t> fallback;  // [length]: longest proper border of each prefix
    size_t matched = 0;            // bytes of `stop` that the text ends with
  };
  static bool advance(Automaton& automaton, char byte);

  std::vector<Automaton> automata_;
};

}  // namespace quire
