// From text or ids in a request to the token ids of a prompt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "server/http.h"
#include "server/json.h"
#include "server/openai/sampling_fields.h"

namespace quire {

struct ServerContext;

// The body of a POST; fails with 415 or 400.
Expected<Json, RequestError> parse_body(const HttpRequest& request);

struct EncodeOptions {
  bool add_special_tokens = true;
  std::optional<int>
      truncate_prompt_tokens;    // keeps the last ones; -1 = what fits beside one new token
  const char* param = "prompt";  // named in errors
};

// Fails with 400 if the text cannot fit max_model_len whatever its tokens are; so long a text is
// not tokenised.
Expected<std::vector<int32_t>, RequestError> encode_prompt(const ServerContext& context,
                                                           std::string_view text,
                                                           const EncodeOptions& options);
Expected<void, RequestError> truncate_prompt(const ServerContext& context,
                                             const EncodeOptions& options,
                                             std::vector<int32_t>& token_ids);

// The server's defaults, before a request's fields are read over them.
CommonFields default_fields(const ServerContext& context);

}  // namespace quire
