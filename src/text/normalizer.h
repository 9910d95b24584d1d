// The normalizer stage of tokenizer.json.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace quire {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  // Requires: valid UTF-8.
  virtual std::string normalize(std::string text) const = 0;
};

// Null for JSON null.  Throws LoadError naming an unsupported type.
std::unique_ptr<Normalizer> make_normalizer(const nlohmann::json& config);

}  // namespace quire
