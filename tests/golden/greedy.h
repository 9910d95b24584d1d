// Comparing greedy tokens with those of HF.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "support/single_sequence.h"

namespace quire {

// Feeds prompt and HF's tokens, and checks before each of these that our best token is HF's, or
// that our logits of the two differ by at most `near_tie`.  Returns how many tokens differ.
inline int expect_greedy(SingleSequence& sequence, const std::vector<int32_t>& prompt,
                         const std::vector<int32_t>& expected, double near_tie) {
  int num_different = 0;
  std::vector<float> logits = sequence.append(prompt).back();
  for (size_t step = 0; step < expected.size(); ++step) {
    const auto best = std::ranges::max_element(logits);
    const double margin = double{*best} - logits[static_cast<size_t>(expected[step])];
    EXPECT_LE(margin, near_tie) << "step " << step << ": " << best - logits.begin()
                                << " instead of " << expected[step];
    num_different += margin > 0.0 ? 1 : 0;
    logits = sequence.append({&expected[step], 1}).back();
  }
  return num_different;
}

}  // namespace quire
