#include "engine/stop_matcher.h"

#include <algorithm>

namespace quire {

StopMatcher::StopMatcher(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    Automaton automaton{.stop = stop, .fallback = std::vector<size_t>(stop.size(), 0)};
    size_t border = 0;
    for (size_t i = 1; i < stop.size(); ++i) {
      while (border > 0 && stop[i] != stop[border]) border = automaton.fallback[border - 1];
      if (stop[i] == stop[border]) ++border;
      automaton.fallback[i] = border;
    }
    automata_.push_back(std::move(automaton));
  }
}

bool StopMatcher::advance(Automaton& automaton, char byte) {
  const std::string& stop = automaton.stop;
  while (automaton.matched > 0 && stop[automaton.matched] != byte) {
    automaton.matched = automaton.fallback[automaton.matched - 1];
  }
  if (stop[automaton.matched] == byte) ++automaton.matched;
  if (automaton.matched < stop.size()) return false;
  automaton.matched = automaton.fallback.back();
  return true;
}

bool StopMatcher::push(std::string_view piece, bool ignore, Match& match) {
  for (size_t i = 0; i < piece.size(); ++i) {
    bool found = false;
    for (size_t stop = 0; stop < automata_.size(); ++stop) {
      if (advance(automata_[stop], piece[i]) && !found) {
        found = true;
        match = {.stop_index = stop, .end = i + 1};
      }
    }
    if (found && !ignore) return true;
  }
  return false;
}

size_t StopMatcher::num_held_bytes() const {
  size_t held = 0;
  for (const Automaton& automaton : automata_) held = std::max(held, automaton.matched);
  return held;
}

}  // namespace quire
