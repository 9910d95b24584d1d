#include "server/openai/errors.h"

#include <utility>

#include "server/json.h"

namespace quire {
namespace {

constexpr std::string_view kRetryAfterOverloadS = "1";
constexpr std::string_view kRetryAfterUnavailableS = "5";

std::string error_body(const RequestError& error) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? Json(nullptr) : Json(text);
  };
  return dump_json({{"error",
                     {{"message", error.message},
                      {"type", error.type},
                      {"param", text_or_null(error.param)},
                      {"code", text_or_null(error.code)}}}});
}

}  // namespace

HttpResponse error_response(const RequestError& error) {
  HttpResponse response{.status = error.http_status, .body = error_body(error)};
  if (error.http_status == 429)
    response.headers.push_back({"Retry-After", std::string(kRetryAfterOverloadS)});
  if (error.http_status == 503)
    response.headers.push_back({"Retry-After", std::string(kRetryAfterUnavailableS)});
  return response;
}

std::string error_event(const RequestError& error) {
  return "data: " + error_body(error) + "\n\ndata: [DONE]\n\n";
}

RequestError http_error(int status, std::string code, std::string message) {
  return {.http_status = status,
          .type = status >= 500   ? "server_error"
                  : status == 429 ? "rate_limit_error"
                                  : "invalid_request_error",
          .code = std::move(code),
          .param = {},
          .message = std::move(message)};
}

RequestError invalid_param(std::string param, std::string message) {
  return {.code = "invalid_value", .param = std::move(param), .message = std::move(message)};
}

RequestError not_supported(std::string param, const std::string& what) {
  return {.code = "unsupported_parameter",
          .param = std::move(param),
          .message = what + " is not supported yet."};
}

RequestError invalid_api_key() {
  return http_error(401, "invalid_api_key",
                    "Incorrect or missing API key. Send it as 'Authorization: Bearer KEY'.");
}

RequestError model_not_found(std::string_view model) {
  return {.http_status = 404,
          .code = "model_not_found",
          .param = "model",
          .message = "The model '" + std::string(model) +
                     "' does not exist. GET /v1/models lists what is served."};
}

RequestError unknown_url(std::string_view method, std::string_view path) {
  return http_error(404, "unknown_url",
                    "Unknown request URL: " + std::string(method) + " " + std::string(path) + ".");
}

RequestError method_not_allowed(std::string_view method, std::string_view allowed) {
  return http_error(
      405, "method_not_allowed",
      "Method " + std::string(method) + " is not allowed here; use " + std::string(allowed) + ".");
}

RequestError unsupported_content_type() {
  return http_error(415, "unsupported_content_type",
                    "The body must be JSON with the header 'Content-Type: application/json'.");
}

RequestError body_too_large(int64_t max_bytes) {
  return http_error(413, "body_too_large",
                    "The body is larger than " + std::to_string(max_bytes) + " bytes.");
}

RequestError headers_too_large(int64_t max_bytes) {
  return http_error(
      431, "headers_too_large",
      "Request line and headers are larger than " + std::to_string(max_bytes) + " bytes.");
}

RequestError overloaded(int status) {
  return http_error(status, "server_overloaded", "The server is overloaded. Retry after a moment.");
}

RequestError shutting_down() {
  return http_error(503, "server_shutting_down", "The server is shutting down.");
}

RequestError generation_failed(RowFailure failure) {
  if (failure == RowFailure::kEveryTokenMasked) {
    return invalid_param("",
                         "allowed_token_ids, bad_words, min_tokens and logit_bias together "
                         "leave no token that may be generated.");
  }
  return http_error(500, "generation_failed",
                    "The model computed values that are not finite numbers for this request.");
}

RequestError engine_failed(std::string_view reason) {
  return http_error(503, "engine_failed",
                    "The engine failed" + (reason.empty() ? "" : ": " + std::string(reason)) + ".");
}

}  // namespace quire
