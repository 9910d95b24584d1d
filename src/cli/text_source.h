// Who answers in the terminal: a model in this process, or a server.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/expected.h"
#include "cli/local_model.h"

namespace quire {

struct GenerationStats {
  int num_prompt_tokens = 0;
  int num_cached_tokens = 0;
  int num_output_tokens = 0;
  double time_to_first_token_s = 0;
  double total_s = 0;
  std::string finish_reason;  // "interrupted" if on_text or keep_going ended it
};

struct GenerationHandlers {
  std::function<void(std::string_view)> on_text;  // a piece of the answer
  std::function<bool()> keep_going;               // asked several times a second; false ends it
};

class TextSource {
 public:
  virtual ~TextSource() = default;
  // `sampling` has the fields of sampling_json.h.  Fails with a message for people.
  virtual Expected<GenerationStats, std::string> chat(const nlohmann::ordered_json& messages,
                                                      const nlohmann::json& sampling,
                                                      const GenerationHandlers& handlers) = 0;
  virtual Expected<GenerationStats, std::string> complete(const std::string& prompt,
                                                          const nlohmann::json& sampling,
                                                          const GenerationHandlers& handlers) = 0;
  virtual std::string model_name() const = 0;
};

// Loads the model.  Throws LoadError.
std::unique_ptr<TextSource> local_text_source(const EngineFlags& flags);

struct RemoteOptions {
  std::string url;  // with or without /v1
  std::string api_key;
  std::string model_name;  // empty = the first that the server lists
};

// Asks the server for its models.  Throws LoadError if it cannot be reached.
std::unique_ptr<TextSource> remote_text_source(const RemoteOptions& options);

// The id of the first model a server lists.  Throws LoadError.
std::string first_served_model(const std::string& root, const std::string& api_key);

}  // namespace quire
