// The frequencies of every scaling are also tested end to end, against HF, in tests/golden.
#include "nn/rotary.h"

#include <gtest/gtest.h>

#include <cmath>

namespace quire {
namespace {

RotaryOptions options_of(RopeType type, int max_positions) {
  return {.type = type,
          .head_dim = 8,
          .rotary_dim = 8,
          .max_positions = max_positions,
          .theta = 10000.0,
          .factor = 4.0,
          .max_position_embeddings = 64,
          .original_max_position_embeddings = 64,
          .short_factor = {1, 1, 1, 1},
          .long_factor = {1, 2, 4, 8}};
}

TEST(RopeFrequencies, DefaultIsAGeometricSeries) {
  const RopeFrequencies f = compute_rope_frequencies(options_of(RopeType::kDefault, 64));
  ASSERT_EQ(f.inv_freq.size(), 4U);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_FLOAT_EQ(f.inv_freq[i], std::pow(10.0F, -static_cast<float>(i)));
  EXPECT_EQ(f.attention_factor, 1.0);
}

TEST(RopeFrequencies, DynamicIsUnscaledUpToTheTrainedLength) {
  const RopeFrequencies plain = compute_rope_frequencies(options_of(RopeType::kDefault, 64));
  EXPECT_EQ(compute_rope_frequencies(options_of(RopeType::kDynamic, 32)).inv_freq, plain.inv_freq);
  EXPECT_EQ(compute_rope_frequencies(options_of(RopeType::kDynamic, 64)).inv_freq, plain.inv_freq);
}

TEST(RopeFrequencies, DynamicAtItsFullLengthIsThatOfVllm) {
  // vLLM: base * (factor * max_len / max_position_embeddings - (factor - 1))^(dim / (dim - 2)).
  const double base = 10000.0 * std::pow(4.0 * 256.0 / 64.0 - 3.0, 8.0 / 6.0);
  const RopeFrequencies f = compute_rope_frequencies(options_of(RopeType::kDynamic, 256));
  EXPECT_NEAR(f.inv_freq[2], std::pow(base, -0.5), 1e-8);
}

TEST(RopeFrequencies, LongropeChoosesFactorsByTheLengthToBeServed) {
  const RopeFrequencies shorter = compute_rope_frequencies(options_of(RopeType::kLongrope, 64));
  const RopeFrequencies longer = compute_rope_frequencies(options_of(RopeType::kLongrope, 65));
  EXPECT_FLOAT_EQ(longer.inv_freq[3], shorter.inv_freq[3] / 8.0F);
  EXPECT_EQ(longer.attention_factor, shorter.attention_factor);
  EXPECT_DOUBLE_EQ(longer.attention_factor, std::sqrt(1.0 + std::log(4.0) / std::log(64.0)));
}

TEST(RopeFrequencies, YarnLeavesFastDimensionsAndInterpolatesSlowOnes) {
  RotaryOptions options = options_of(RopeType::kYarn, 256);
  options.beta_fast = 8.0;
  const RopeFrequencies plain = compute_rope_frequencies(options_of(RopeType::kDefault, 64));
  const RopeFrequencies f = compute_rope_frequencies(options);
  EXPECT_FLOAT_EQ(f.inv_freq.front(), plain.inv_freq.front());
  EXPECT_FLOAT_EQ(f.inv_freq.back(), plain.inv_freq.back() / 4.0F);
  EXPECT_DOUBLE_EQ(f.attention_factor, 0.1 * std::log(4.0) + 1.0);
  options.attention_factor = 1.5;
  EXPECT_EQ(compute_rope_frequencies(options).attention_factor, 1.5);
}

}  // namespace
}  // namespace quire
