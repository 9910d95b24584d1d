#include "nn/rotary.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

// base^(2i / dim), in f32 as HF computes it.
std::vector<float> position_frequencies(double base, int dim) {
  std::vector<float> frequencies;
  for (int i = 0; i < dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(dim);
    frequencies.push_back(std::pow(static_cast<float>(base), exponent));
  }
  return frequencies;
}

std::vector<float> default_frequencies(double base, int dim) {
  std::vector<float> frequencies = position_frequencies(base, dim);
  for (float& f : frequencies) f = 1.0F / f;
  return frequencies;
}

// HF _compute_dynamic_ntk_parameters, for a sequence of max_positions tokens.
double dynamic_base(const RotaryOptions& o) {
  const double length = std::max(o.max_positions, o.max_position_embeddings);
  const double stretch = o.factor * length / o.max_position_embeddings - (o.factor - 1.0);
  return o.theta * std::pow(stretch, o.rotary_dim / (o.rotary_dim - 2.0));
}

double yarn_attention_factor(const RotaryOptions& o) {
  const auto mscale = [&](double weight) {
    return o.factor <= 1.0 ? 1.0 : 0.1 * weight * std::log(o.factor) + 1.0;
  };
  if (o.attention_factor) return *o.attention_factor;
  if (o.mscale != 0.0 && o.mscale_all_dim != 0.0)
    return mscale(o.mscale) / mscale(o.mscale_all_dim);
  return mscale(1.0);
}

// HF _compute_yarn_parameters.  Source: Peng et al. 2023, arXiv:2309.00071.
RopeFrequencies yarn_frequencies(const RotaryOptions& o) {
  const auto correction_dim = [&](double num_rotations) {
    return o.rotary_dim *
           std::log(o.original_max_position_embeddings / (num_rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(o.theta));
  };
  double low = correction_dim(o.beta_fast);
  double high = correction_dim(o.beta_slow);
  if (o.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, o.rotary_dim - 1.0);
  if (low == high) high += 0.001;

  RopeFrequencies result{.inv_freq = position_frequencies(o.theta, o.rotary_dim),
                         .attention_factor = yarn_attention_factor(o)};
  for (size_t i = 0; i < result.inv_freq.size(); ++i) {
    const auto ramp = static_cast<float>((static_cast<double>(i) - low) / (high - low));
    const float extrapolation_share = 1.0F - std::clamp(ramp, 0.0F, 1.0F);
    const float extrapolation = 1.0F / result.inv_freq[i];
    const float interpolation = 1.0F / (static_cast<float>(o.factor) * result.inv_freq[i]);
    result.inv_freq[i] =
        interpolation * (1.0F - extrapolation_share) + extrapolation * extrapolation_share;
  }
  return result;
}

// HF _compute_llama3_parameters.
RopeFrequencies llama3_frequencies(const RotaryOptions& o) {
  const double length = o.original_max_position_embeddings;
  RopeFrequencies result{.inv_freq = default_frequencies(o.theta, o.rotary_dim)};
  for (float& frequency : result.inv_freq) {
    const double wavelength = 2.0 * std::numbers::pi / frequency;
    if (wavelength < length / o.high_freq_factor) continue;
    if (wavelength > length / o.low_freq_factor) {
      frequency = static_cast<float>(frequency / o.factor);
      continue;
    }
    const double smooth =
        (length / wavelength - o.low_freq_factor) / (o.high_freq_factor - o.low_freq_factor);
    frequency = static_cast<float>((1.0 - smooth) * frequency / o.factor + smooth * frequency);
  }
  return result;
}

// HF _compute_longrope_parameters.  Source: Ding et al. 2024, arXiv:2402.13753.
RopeFrequencies longrope_frequencies(const RotaryOptions& o) {
  const bool is_long = o.max_positions > o.original_max_position_embeddings;
  const std::vector<double>& factors = is_long ? o.long_factor : o.short_factor;
  RopeFrequencies result{.inv_freq = position_frequencies(o.theta, o.rotary_dim)};
  CHECK(factors.size() == result.inv_freq.size());
  for (size_t i = 0; i < factors.size(); ++i) {
    result.inv_freq[i] = 1.0F / (static_cast<float>(factors[i]) * result.inv_freq[i]);
  }
  if (o.attention_factor) {
    result.attention_factor = *o.attention_factor;
  } else if (o.factor > 1.0) {
    result.attention_factor =
        std::sqrt(1.0 + std::log(o.factor) /
                            std::log(static_cast<double>(o.original_max_position_embeddings)));
  }
  return result;
}

}  // namespace

RopeFrequencies compute_rope_frequencies(const RotaryOptions& options) {
  switch (options.type) {
    case RopeType::kDefault:
      return {.inv_freq = default_frequencies(options.theta, options.rotary_dim)};
    case RopeType::kLinear: {
      RopeFrequencies result{.inv_freq = default_frequencies(options.theta, options.rotary_dim)};
      for (float& f : result.inv_freq) f /= static_cast<float>(options.factor);
      return result;
    }
    case RopeType::kDynamic:
      return {.inv_freq = default_frequencies(dynamic_base(options), options.rotary_dim)};
    case RopeType::kYarn:
      return yarn_frequencies(options);
    case RopeType::kLlama3:
      return llama3_frequencies(options);
    case RopeType::kLongrope:
      return longrope_frequencies(options);
  }
  CHECK(false, "unknown rope type");
}

RotaryEmbedding::RotaryEmbedding(const BuildContext& build, const RotaryOptions& options)
    : head_dim_(options.head_dim), rotary_dim_(options.rotary_dim) {
  const RopeFrequencies frequencies = compute_rope_frequencies(options);
  Tensor cos_sin(Shape{options.max_positions, options.rotary_dim}, DType::kF32);
  const TensorView& table = cos_sin.view();
  build.stream.pool().parallel_for(options.max_positions, 1, [&](int64_t begin, int64_t end) {
    const auto half = static_cast<int64_t>(frequencies.inv_freq.size());
    for (int64_t position = begin; position < end; ++position) {
      float* row = table.row<float>(position);
      for (int64_t i = 0; i < half; ++i) {
        // HF multiplies in f32; the angle of a long position depends on it.
        const double angle =
            static_cast<float>(position) * frequencies.inv_freq[static_cast<size_t>(i)];
        row[i] = static_cast<float>(std::cos(angle) * frequencies.attention_factor);
        row[half + i] = static_cast<float>(std::sin(angle) * frequencies.attention_factor);
      }
    }
  });
  cos_sin_ = build.to_device(std::move(cos_sin));
}

}  // namespace quire
