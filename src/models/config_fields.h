// Checked reading of config.json's fields.  Every error names the file and the key.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "models/config.h"
#include "nn/mlp.h"

namespace quire {

// A JSON object of a file.  An absent key and null are the same, but for is_null().
class ConfigFields {
 public:
  // Both outlive this.  `where` is the file, and the path within it, for messages.
  ConfigFields(const nlohmann::json& object, std::string where);
  explicit ConfigFields(const ModelConfig& config) : ConfigFields(config.raw, config.path) {}

  bool has(const char* key) const;
  // Present, and null: HF then switches off what it would switch on by default if the key were
  // absent.
  bool is_null(const char* key) const;
  // The sub-object `key`, or none.  Throws LoadError if it is something else.
  std::optional<ConfigFields> object(const char* key) const;
  // Throw LoadError if the field is of another type, out of [min, max], or required and absent.
  struct IntRange {
    int min = 0;
    int max = std::numeric_limits<int>::max();
  };
  int integer(const char* key, const IntRange& range) const;
  int integer(const char* key, const IntRange& range, int if_absent) const;
  // Finite and in [0, 1e12].
  double number(const char* key) const;
  double number(const char* key, double if_absent) const;
  bool boolean(const char* key, bool if_absent) const;
  std::string string(const char* key, const std::string& if_absent) const;
  std::vector<double> numbers(const char* key, size_t count) const;
  // An integer or a list of integers, each in [0, max]; empty if absent.
  std::vector<int32_t> integers(const char* key, int max) const;
  [[noreturn]] void fail(const char* key, const std::string& problem) const;

 private:
  const nlohmann::json* find(const char* key) const;
  int read_integer(const char* key, const nlohmann::json& value, const IntRange& range) const;
  double read_number(const char* key, const nlohmann::json& value) const;

  const nlohmann::json* object_;
  std::string where_;
};

// The activation that `key` names, with HF's names (ACT2FN).
Activation activation_field(const ModelConfig& config, const char* key,
                            const std::string& if_absent);

// HF's layer_types[layer_index] ("full_attention", "sliding_attention"): whether the layer slides.
// none if the configuration has no layer_types.
std::optional<bool> layer_slides(const ModelConfig& config, int layer_index);

// The `sliding_window` of the layers that slide: 0, none, if null; HF's default of 4096 if absent.
int sliding_window_field(const ModelConfig& config);

}  // namespace quire
