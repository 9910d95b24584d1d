// Which modules of a model a PEFT configuration adapts.
// Source: PEFT's check_target_module_exists (src/peft/tuners/tuners_utils.py).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/name_pattern.h"

namespace quire {

// A list of names, each of which stands for itself and for what ends in it after a dot, or a
// pattern of whole names.
struct NamesOrPattern {
  std::vector<std::string> names = {};
  std::optional<NamePattern> pattern = std::nullopt;

  bool contains(std::string_view module) const;
};

struct ModuleSelection {
  // target_modules; none if the configuration leaves it to the model's type.
  std::optional<NamesOrPattern> targets = std::nullopt;
  bool all_linear = false;  // target_modules is "all-linear": every layer's matrices
  NamesOrPattern excluded = {};
  std::vector<int64_t> layers = {};           // layers_to_transform; empty: all
  std::vector<std::string> layer_lists = {};  // layers_pattern: "layers", "h"; empty: any

  // Whether the configuration says at all.
  bool is_known() const { return all_linear || targets.has_value(); }
  // Requires is_known().
  bool contains(std::string_view module) const;
};

// The number of a module's layer: the first segment of its name that is a number and follows one
// of `layer_lists` or, if that is empty, any two segments; none if there is none.
std::optional<int64_t> layer_index_of(std::string_view module,
                                      const std::vector<std::string>& layer_lists);

}  // namespace quire
