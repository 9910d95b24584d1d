// OpenAI error objects, and the errors this server gives by name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "scheduler/scheduler_output.h"
#include "server/http.h"

namespace quire {

// The response with the OpenAI error body; Retry-After with 429 and 503.
HttpResponse error_response(const RequestError& error);
// The event that ends a stream in which an error occurred, with the [DONE] that follows.
std::string error_event(const RequestError& error);

RequestError http_error(int status, std::string code, std::string message);

// 400: `param` names the field.
RequestError invalid_param(std::string param, std::string message);
RequestError not_supported(std::string param, const std::string& what);

RequestError invalid_api_key();
RequestError model_not_found(std::string_view model);
RequestError unknown_url(std::string_view method, std::string_view path);
RequestError method_not_allowed(std::string_view method, std::string_view allowed);
RequestError unsupported_content_type();
RequestError body_too_large(int64_t max_bytes);
RequestError headers_too_large(int64_t max_bytes);
// 429: the queue is full.  503: the server is short of memory or connections.
RequestError overloaded(int status = 429);
RequestError shutting_down();
RequestError engine_failed(std::string_view reason);
// 500, or 400 where the request's own parameters left no token.  Requires: not kNone.
RequestError generation_failed(RowFailure failure);

}  // namespace quire
