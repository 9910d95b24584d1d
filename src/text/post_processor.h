// The post-processor stage of tokenizer.json for one sequence: the special tokens around it.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <vector>

namespace quire {

struct PostProcessor {
  std::vector<int32_t> prefix;
  std::vector<int32_t> suffix;
};

// Nothing for JSON null.  Throws LoadError naming an unsupported type.
PostProcessor make_post_processor(const nlohmann::json& config);

}  // namespace quire
