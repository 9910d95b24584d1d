#include "server/request_head.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <random>

namespace quire {
namespace {

constexpr size_t kMaxHeaders = 100;
constexpr size_t kMaxRequestIdBytes = 128;

bool is_id_character(char c) { return c > 0x20 && c < 0x7f; }

}  // namespace

std::optional<HeadProblem> check_head(const HeadFacts& facts, const HttpRequest& request) {
  if (request.headers.size() > kMaxHeaders) {
    return HeadProblem{431,
                       "The request has more than " + std::to_string(kMaxHeaders) + " headers."};
  }
  const auto num_hosts = std::ranges::count_if(request.headers, [](const HttpHeader& header) {
    return equals_ignoring_case(header.name, "host");
  });
  if (num_hosts > 1 || (num_hosts == 0 && !facts.http_1_0)) {
    return HeadProblem{400, "The request must have exactly one Host header."};
  }
  if (!request.header("transfer-encoding").empty()) {
    if (facts.http_1_0 || !facts.chunked ||
        !equals_ignoring_case(request.header("transfer-encoding"), "chunked")) {
      return HeadProblem{400, "The only supported Transfer-Encoding is chunked."};
    }
  }
  const std::string_view encoding = request.header("content-encoding");
  if (!encoding.empty() && !equals_ignoring_case(encoding, "identity")) {
    return HeadProblem{400, "Content-Encoding is not supported; send the body as it is."};
  }
  const std::string_view expect = request.header("expect");
  if (!expect.empty() && !equals_ignoring_case(expect, "100-continue")) {
    return HeadProblem{417, "The only supported Expect is 100-continue."};
  }
  return std::nullopt;
}

std::optional<std::string> path_of_target(std::string_view target) {
  if (target == "*") return "*";
  if (!target.starts_with('/')) {
    const size_t scheme_end = target.find("://");
    if (scheme_end == std::string_view::npos) return std::nullopt;
    const size_t path_begin = target.find_first_of("/?", scheme_end + 3);
    target = path_begin == std::string_view::npos ? "/" : target.substr(path_begin);
    if (!target.starts_with('/')) target = "/";
  }
  target = target.substr(0, target.find_first_of("?#"));
  std::string path;
  if (!percent_decode(target, path)) return std::nullopt;
  return path;
}

std::string choose_request_id(std::string_view from_client) {
  if (!from_client.empty() && from_client.size() <= kMaxRequestIdBytes &&
      std::ranges::all_of(from_client, is_id_character)) {
    return std::string(from_client);
  }
  thread_local std::mt19937_64 random{std::random_device{}()};
  char text[33];
  std::snprintf(text, sizeof(text), "%016llx%016llx", static_cast<unsigned long long>(random()),
                static_cast<unsigned long long>(random()));
  return text;
}

std::string_view request_method_label(std::string_view method) {
  constexpr std::array<std::string_view, 7> kMethods = {"GET",    "HEAD",  "POST",   "PUT",
                                                        "DELETE", "PATCH", "OPTIONS"};
  const auto* known = std::ranges::find(kMethods, method);
  return known != kMethods.end() ? *known : "other";
}

}  // namespace quire
