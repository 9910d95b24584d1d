// HTTP requests, many at a time on one thread: libcurl's multi interface.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

struct ClientRequest {
  std::string url;
  std::string body = {};     // JSON to POST; empty: GET
  std::string api_key = {};  // sent as a bearer token if not empty
  double timeout_s = 0;      // for all of it; 0 = none
};

struct HttpResult {
  int status = 0;     // 0: no answer
  std::string error;  // why there was no (whole) answer
  std::string body;   // of answers that no on_data took, at most 1 MiB
  bool ok() const { return error.empty() && status >= 200 && status < 300; }
  // For people: the server's message, or what went wrong on the way.
  std::string message() const;
};

// Thread: one owner; the handlers run inside poll().
class HttpClient {
 public:
  using Id = uint64_t;
  // Takes a piece of a successful answer's body; returns false to break off.
  using OnData = std::function<bool(std::string_view)>;
  using OnDone = std::function<void(const HttpResult&)>;

  HttpClient();
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // on_data may be empty: then the body is in the result.
  Id start(const ClientRequest& request, OnData on_data, OnDone on_done);
  // Drops a request; neither handler is called again.  Not from within a handler.
  void cancel(Id id);
  // Moves data for up to `timeout`, returning early when something happened.
  void poll(std::chrono::milliseconds timeout);
  size_t num_active() const;

  // One request to its end.
  static HttpResult fetch(const ClientRequest& request);

 private:
  class State;
  std::unique_ptr<State> state_;
};

// "http://host:8000/", "host:8000" and "http://host:8000/v1" -> "http://host:8000".
std::string server_root(std::string url);

}  // namespace quire
