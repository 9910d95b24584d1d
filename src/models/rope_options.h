// config.json's rotary embedding, in the spelling of transformers 4 (rope_theta and rope_scaling),
// of transformers 5 (rope_parameters) or of GPT-NeoX (rotary_emb_base and rotary_pct).
#pragma once

#include "models/config.h"
#include "nn/rotary.h"

namespace quire {

// Throws LoadError naming the key if one is missing, out of range or not supported.
RotaryOptions rotary_options(const ModelConfig& config, int max_positions);

}  // namespace quire
