// HTTP messages as plain values: what handlers see instead of the HTTP library.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace quire {

struct HttpHeader {
  std::string name;
  std::string value;
};

struct HttpRequest {
  std::string method;  // upper case
  std::string path;    // percent-decoded, without query
  std::vector<HttpHeader> headers;
  std::string body;
  std::string request_id;       // the client's X-Request-Id, or a fresh one
  double arrival_time_s = 0.0;  // monotonic clock, when the request was complete

  // The first header of that name (any case); empty if there is none.
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<HttpHeader> headers = {};
  std::string body = {};
};

// "Not Found" for 404.
std::string_view reason_phrase(int status);

// How the bytes after the head are delimited.
enum class BodyFraming { kContentLength, kChunked, kUntilClose };

struct ResponseHead {
  int status = 200;
  std::string_view content_type;
  const std::vector<HttpHeader>* headers = nullptr;
  BodyFraming framing = BodyFraming::kContentLength;
  size_t content_length = 0;
  bool keep_alive = true;
  std::string_view request_id;  // empty = no X-Request-Id
};

// Status line and headers, with the empty line that ends them.
std::string serialize_head(const ResponseHead& head);

// Appends one chunk of the chunked transfer coding.  Requires: data is not empty.
void append_chunk(std::string& out, std::string_view data);

// The bytes of a percent-encoded path; false if an escape is malformed or encodes a control
// character.
bool percent_decode(std::string_view in, std::string& out);

// Equal but for ASCII case.
bool equals_ignoring_case(std::string_view a, std::string_view b);

// True if `a` equals `b`; the time taken depends on the length of `a` only.
bool equals_in_constant_time(std::string_view a, std::string_view b);

// Seconds on the clock that also stamps EngineRequest::arrival_time_s.
double monotonic_now_s();

}  // namespace quire
