// JSON in and out of the server, within limits that keep a hostile body cheap.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/expected.h"

namespace quire {

// Objects keep the order of their keys: chat templates print them.
using Json = nlohmann::ordered_json;

// An ordered object is searched linearly, so the number of members is limited besides depth and
// size.
struct JsonLimits {
  int max_depth = 64;
  int64_t max_values = 4'000'000;         // numbers, strings, ... of the whole text
  int64_t max_members = 250'000;          // object members of the whole text
  int64_t max_members_per_object = 2048;  // above the 1024 entries a logit_bias may have
};

// Fails with 400: malformed JSON (with the place), beyond the limits, or not an object.
Expected<Json, RequestError> parse_json_object(std::string_view text,
                                               const JsonLimits& limits = {});

// One line; invalid UTF-8 becomes U+FFFD.
std::string dump_json(const Json& value);

}  // namespace quire
