// Rotary position embedding with the scalings of HF's modeling_rope_utils.py.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "nn/build_context.h"
#include "nn/forward_context.h"

namespace quire {

enum class RopeType : uint8_t { kDefault, kLinear, kDynamic, kYarn, kLlama3, kLongrope };

// The names and meanings are those of HF's rope_parameters.
struct RotaryOptions {
  RopeType type = RopeType::kDefault;
  int head_dim = 0;
  int rotary_dim = 0;  // even, <= head_dim; the rest of each head is left alone
  // Positions 0 .. max_positions - 1 are served.  HF chooses the frequencies of `dynamic` and
  // `longrope` anew in every forward call from the longest sequence in it, so that a cached key may
  // have been rotated by other frequencies than its query.  Here they are chosen once, as HF does
  // for a sequence of max_positions tokens: longrope takes long_factor if max_positions exceeds
  // original_max_position_embeddings (as vLLM), dynamic scales its base for max_positions (vLLM:
  // for factor * max_position_embeddings, the default max_positions of such a model).
  int max_positions = 0;
  double theta = 10000.0;
  double factor = 1.0;
  int max_position_embeddings = 0;                       // as in config.json: the base of `dynamic`
  int original_max_position_embeddings = 0;              // yarn, llama3, longrope
  std::optional<double> attention_factor = {};           // yarn, longrope; default: from factor
  double beta_fast = 32.0, beta_slow = 1.0;              // yarn
  double mscale = 0.0, mscale_all_dim = 0.0;             // yarn; 0 = absent
  bool truncate = true;                                  // yarn
  double low_freq_factor = 1.0, high_freq_factor = 4.0;  // llama3
  std::vector<double> short_factor = {}, long_factor = {};  // longrope, [rotary_dim / 2]
};

// Inverse frequencies [rotary_dim / 2] and the factor of cosines and sines.
struct RopeFrequencies {
  std::vector<float> inv_freq;
  double attention_factor = 1.0;
};
RopeFrequencies compute_rope_frequencies(const RotaryOptions& options);

// One per model; its layers share the table.
class RotaryEmbedding {
 public:
  RotaryEmbedding(const BuildContext& build, const RotaryOptions& options);
  // Rotates every head of x in place.  x: [tokens, heads * head_dim].
  void forward(ForwardContext& context, const TensorView& x) const {
    context.kernels.rope(context.stream, args(context, x));
  }
  // The same as arguments, for a kernel that does more.
  RopeArgs args(const ForwardContext& context, const TensorView& x) const {
    return {.positions = context.batch.positions,
            .cos_sin = cos_sin_.view(),
            .x = x,
            .head_dim = head_dim_,
            .rotary_dim = rotary_dim_};
  }

 private:
  int head_dim_;
  int rotary_dim_;
  Tensor cos_sin_;  // [max_positions, rotary_dim] f32
};

}  // namespace quire
