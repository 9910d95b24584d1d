// Rules about a request's head that the HTTP parser leaves to its user.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "server/http.h"

namespace quire {

struct HeadFacts {
  bool http_1_0 = false;
  bool chunked = false;  // the parser understood the transfer coding
};

struct HeadProblem {
  int status = 400;
  std::string message;
};

// Refuses what could be read in two ways (a transfer coding that is not understood, no Host or
// several), an unknown expectation, and too many headers.
std::optional<HeadProblem> check_head(const HeadFacts& facts, const HttpRequest& request);

// The decoded path of "/path?query", "http://host/path?query" or "*"; none if malformed.
std::optional<std::string> path_of_target(std::string_view target);

// The client's id if it is short and printable, else a random one of 32 hex digits.
std::string choose_request_id(std::string_view from_client);

// The method, or "other", so that the number of label values is bounded.
std::string_view request_method_label(std::string_view method);

}  // namespace quire
