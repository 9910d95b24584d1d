#include "text/post_processor.h"

#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"

namespace quire {
namespace {

using Json = nlohmann::json;

PostProcessor no_tokens(const Json&) { return {}; }

// {"cls": ["<s>", 0], "sep": ["</s>", 2]}
PostProcessor cls_and_sep(const Json& config) {
  return {{config.at("cls").at(1).get<int32_t>()}, {config.at("sep").at(1).get<int32_t>()}};
}

PostProcessor template_processing(const Json& config) {
  PostProcessor tokens;
  int num_sequences = 0;
  for (const Json& piece : config.at("single")) {
    if (piece.contains("Sequence")) {
      ++num_sequences;
      continue;
    }
    const auto name = piece.at("SpecialToken").at("id").get<std::string>();
    std::vector<int32_t>& ids = num_sequences == 0 ? tokens.prefix : tokens.suffix;
    for (const Json& id : config.at("special_tokens").at(name).at("ids"))
      ids.push_back(id.get<int32_t>());
  }
  if (num_sequences != 1) {
    throw LoadError("post_processor TemplateProcessing must name the sequence once, not " +
                    std::to_string(num_sequences) + " times");
  }
  return tokens;
}

PostProcessor sequence(const Json& config) {
  PostProcessor all;
  for (const Json& part : config.at("processors")) {
    const PostProcessor one = make_post_processor(part);
    all.prefix.insert(all.prefix.begin(), one.prefix.begin(), one.prefix.end());
    all.suffix.insert(all.suffix.end(), one.suffix.begin(), one.suffix.end());
  }
  return all;
}

struct Row {
  std::string_view type;
  PostProcessor (*make)(const Json& config);
};

constexpr Row kPostProcessors[] = {
    {"Sequence", sequence},          {"TemplateProcessing", template_processing},
    {"ByteLevel", no_tokens},        {"RobertaProcessing", cls_and_sep},
    {"BertProcessing", cls_and_sep},
};

}  // namespace

PostProcessor make_post_processor(const Json& config) {
  if (config.is_null()) return {};
  const auto type = config.at("type").get<std::string>();
  for (const Row& row : kPostProcessors) {
    if (row.type == type) return row.make(config);
  }
  throw LoadError("post_processor of type '" + type + "' is not supported");
}

}  // namespace quire
