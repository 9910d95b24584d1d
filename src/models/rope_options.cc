#include "models/rope_options.h"

#include <string>

#include "models/config_fields.h"

namespace quire {
namespace {

RopeType rope_type_of(const ConfigFields& rope) {
  const std::string name = rope.string("rope_type", rope.string("type", "default"));
  if (name == "default") return RopeType::kDefault;
  if (name == "linear") return RopeType::kLinear;
  if (name == "dynamic") return RopeType::kDynamic;
  if (name == "yarn") return RopeType::kYarn;
  if (name == "llama3") return RopeType::kLlama3;
  if (name == "longrope" || name == "su") return RopeType::kLongrope;  // su: Phi-3's older name
  rope.fail("rope_type",
            "is '" + name + "'; default, linear, dynamic, yarn, llama3 and longrope are supported");
}

double positive(const ConfigFields& rope, const char* key) {
  const double value = rope.number(key);
  if (value <= 0.0) rope.fail(key, "is not positive");
  return value;
}

void read_yarn(const ConfigFields& rope, RotaryOptions& options) {
  options.mscale = rope.number("mscale", 0.0);
  options.mscale_all_dim = rope.number("mscale_all_dim", 0.0);
  options.truncate = rope.boolean("truncate", true);
  const auto or_default = [&](const char* key, double if_absent) {
    const double value = rope.number(key, if_absent);
    return value == 0.0 ? if_absent : value;  // as Python's `or`
  };
  options.beta_fast = or_default("beta_fast", options.beta_fast);
  options.beta_slow = or_default("beta_slow", options.beta_slow);
}

void read_scaling(const ConfigFields& rope, RotaryOptions& options) {
  const bool may_derive_factor =
      options.type == RopeType::kYarn || options.type == RopeType::kLongrope;
  if (may_derive_factor && !rope.has("factor")) {
    options.factor = static_cast<double>(options.max_position_embeddings) /
                     options.original_max_position_embeddings;
  } else {
    options.factor = positive(rope, "factor");
  }
  if (may_derive_factor && rope.has("attention_factor")) {
    options.attention_factor = rope.number("attention_factor");
  }
  if (options.type == RopeType::kYarn) read_yarn(rope, options);
  if (options.type == RopeType::kLlama3) {
    options.low_freq_factor = positive(rope, "low_freq_factor");
    options.high_freq_factor = positive(rope, "high_freq_factor");
    if (options.high_freq_factor <= options.low_freq_factor) {
      rope.fail("high_freq_factor", "is not greater than low_freq_factor");
    }
  }
  if (options.type == RopeType::kLongrope) {
    const auto count = static_cast<size_t>(options.rotary_dim / 2);
    options.short_factor = rope.numbers("short_factor", count);
    options.long_factor = rope.numbers("long_factor", count);
  }
}

}  // namespace

RotaryOptions rotary_options(const ModelConfig& config, int max_positions) {
  const ConfigFields fields(config);
  const bool is_neox = config.model_type == "gpt_neox";
  std::optional<ConfigFields> given = fields.object("rope_scaling");
  if (!given) given = fields.object("rope_parameters");
  const nlohmann::json none = nlohmann::json::object();
  const ConfigFields rope = given ? *given : ConfigFields(none, config.path);

  RotaryOptions options{
      .type = rope_type_of(rope), .head_dim = config.head_dim, .max_positions = max_positions};
  const double file_theta =
      fields.number(is_neox ? "rotary_emb_base" : "rope_theta", options.theta);
  options.theta = rope.number("rope_theta", file_theta);
  if (options.theta <= 1.0) fields.fail("rope_theta", "is not greater than 1");
  const double file_share =
      is_neox ? fields.number("rotary_pct", 0.25) : fields.number("partial_rotary_factor", 1.0);
  const double share = rope.number("partial_rotary_factor", file_share);
  options.rotary_dim = share <= 1.0 ? static_cast<int>(config.head_dim * share) : 0;
  if (options.rotary_dim < 4 || options.rotary_dim % 2 != 0) {
    fields.fail("partial_rotary_factor",
                "leaves " + std::to_string(options.rotary_dim) +
                    " rotated dimensions of a head; an even number from 4 to " +
                    std::to_string(config.head_dim) + " is supported");
  }
  const ConfigFields::IntRange length{.min = 2};
  options.max_position_embeddings = fields.integer("max_position_embeddings", length, 2048);
  const int original =
      rope.integer("original_max_position_embeddings", length, options.max_position_embeddings);
  options.original_max_position_embeddings =
      fields.integer("original_max_position_embeddings", length, original);
  if (options.type != RopeType::kDefault) read_scaling(rope, options);
  return options;
}

}  // namespace quire
