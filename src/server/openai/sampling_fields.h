// The fields that completions and chat completions share.
#pragma once

#include <optional>
#include <string>

#include "quire/sampling_params.h"
#include "server/openai/fields.h"

namespace quire {

struct StreamOptions {
  bool include_usage = false;
  bool continuous_usage_stats = false;
};

struct CommonFields {
  std::string model;  // empty = the first served name
  SamplingParams params;
  int priority = 0;
  std::string cache_salt;
  bool stream = false;
  StreamOptions stream_options;
  bool echo = false;
  std::optional<int> truncate_prompt_tokens;  // -1 = to what fits
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;
};

// Reads them over the defaults that `common` holds; refuses fields that quire does not have yet and
// that would change the output if they were ignored.
void read_common_fields(Fields& fields, CommonFields& common);

}  // namespace quire
