#include "cli/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

constexpr size_t kMaxBodyBytes = 1 << 20;  // of an error or a small JSON answer

struct Transfer {
  HttpClient::Id id = 0;
  CURL* handle = nullptr;
  curl_slist* headers = nullptr;
  std::string body;
  HttpClient::OnData on_data;
  HttpClient::OnDone on_done;
  HttpResult result;

  ~Transfer() {
    curl_easy_cleanup(handle);
    curl_slist_free_all(headers);
  }
};

size_t receive(char* data, size_t size, size_t count, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const size_t num_bytes = size * count;
  long status = 0;
  curl_easy_getinfo(transfer.handle, CURLINFO_RESPONSE_CODE, &status);
  if (transfer.on_data && status >= 200 && status < 300) {
    return transfer.on_data(std::string_view(data, num_bytes)) ? num_bytes : 0;
  }
  const size_t room = kMaxBodyBytes - std::min(kMaxBodyBytes, transfer.result.body.size());
  transfer.result.body.append(data, std::min(num_bytes, room));
  return num_bytes;
}

void configure(Transfer& transfer, const ClientRequest& request) {
  CURL* handle = transfer.handle;
  curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(handle, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout_s * 1e3));
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &receive);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(handle, CURLOPT_PRIVATE, &transfer);
  if (!request.body.empty()) {
    transfer.body = request.body;
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS, transfer.body.data());
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(transfer.body.size()));
    transfer.headers = curl_slist_append(transfer.headers, "Content-Type: application/json");
    transfer.headers = curl_slist_append(transfer.headers, "Expect:");
  }
  if (!request.api_key.empty()) {
    transfer.headers =
        curl_slist_append(transfer.headers, ("Authorization: Bearer " + request.api_key).c_str());
  }
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, transfer.headers);
}

}  // namespace

std::string HttpResult::message() const {
  if (status == 0 || body.empty()) {
    return error.empty() ? fmt::format("HTTP status {}", status) : error;
  }
  const auto json = nlohmann::json::parse(body, nullptr, false);
  if (json.is_object() && json.contains("error")) {
    const auto& details = json["error"];
    if (details.is_object() && details.contains("message") && details["message"].is_string()) {
      return fmt::format("{} (HTTP status {})", details["message"].get<std::string>(), status);
    }
  }
  return fmt::format("HTTP status {}: {}", status, body.substr(0, 500));
}

class HttpClient::State {
 public:
  State() {
    // Reference-counted inside libcurl.  Clients are made on the main thread.
    CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
    multi_ = curl_multi_init();
    CHECK(multi_ != nullptr);
    // A measurement of n concurrent streams needs n connections, kept for the next requests.
    curl_multi_setopt(multi_, CURLMOPT_MAXCONNECTS, 4096L);
  }
  ~State() {
    for (auto& [id, transfer] : transfers_) {
      curl_multi_remove_handle(multi_, transfer->handle);
    }
    transfers_.clear();
    curl_multi_cleanup(multi_);
    curl_global_cleanup();
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  Id start(const ClientRequest& request, OnData on_data, OnDone on_done) {
    auto transfer = std::make_unique<Transfer>();
    transfer->id = next_id_++;
    transfer->handle = curl_easy_init();
    CHECK(transfer->handle != nullptr);
    transfer->on_data = std::move(on_data);
    transfer->on_done = std::move(on_done);
    configure(*transfer, request);
    curl_multi_add_handle(multi_, transfer->handle);
    const Id id = transfer->id;
    transfers_.emplace(id, std::move(transfer));
    return id;
  }

  void cancel(Id id) {
    const auto found = transfers_.find(id);
    if (found != transfers_.end()) {
      curl_multi_remove_handle(multi_, found->second->handle);
      transfers_.erase(found);
    }
  }

  void poll(std::chrono::milliseconds timeout) {
    int num_running = 0;
    curl_multi_perform(multi_, &num_running);
    if (finish_transfers()) {
      return;
    }
    curl_multi_poll(multi_, nullptr, 0, static_cast<int>(timeout.count()), nullptr);
    curl_multi_perform(multi_, &num_running);
    finish_transfers();
  }

  size_t num_active() const { return transfers_.size(); }

 private:
  // Reports what has ended; true if anything did.
  bool finish_transfers() {
    std::vector<std::unique_ptr<Transfer>> ended;
    int num_left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_, &num_left)) {
      if (message->msg != CURLMSG_DONE) {
        continue;
      }
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      if (message->data.result != CURLE_OK) {
        transfer->result.error = curl_easy_strerror(message->data.result);
      }
      long status = 0;
      curl_easy_getinfo(transfer->handle, CURLINFO_RESPONSE_CODE, &status);
      transfer->result.status = static_cast<int>(status);
      curl_multi_remove_handle(multi_, transfer->handle);
      const auto found = transfers_.find(transfer->id);
      ended.push_back(std::move(found->second));
      transfers_.erase(found);
    }
    for (const auto& transfer : ended) {
      transfer->on_done(transfer->result);
    }
    return !ended.empty();
  }

  CURLM* multi_ = nullptr;
  Id next_id_ = 1;
  std::unordered_map<Id, std::unique_ptr<Transfer>> transfers_;
};

HttpClient::HttpClient() : state_(std::make_unique<State>()) {}
HttpClient::~HttpClient() = default;
HttpClient::Id HttpClient::start(const ClientRequest& request, OnData on_data, OnDone on_done) {
  return state_->start(request, std::move(on_data), std::move(on_done));
}
void HttpClient::cancel(Id id) { state_->cancel(id); }
void HttpClient::poll(std::chrono::milliseconds timeout) { state_->poll(timeout); }
size_t HttpClient::num_active() const { return state_->num_active(); }

HttpResult HttpClient::fetch(const ClientRequest& request) {
  HttpClient client;
  HttpResult result;
  client.start(request, {}, [&](const HttpResult& ended) { result = ended; });
  while (client.num_active() > 0) {
    client.poll(std::chrono::milliseconds(1000));
  }
  return result;
}

std::string server_root(std::string url) {
  if (url.find("://") == std::string::npos) {
    url = "http://" + url;
  }
  while (!url.empty() && url.back() == '/') {
    url.pop_back();
  }
  const bool has_version = url.size() > 3 && url.compare(url.size() - 3, 3, "/v1") == 0;
  return has_version ? url.substr(0, url.size() - 3) : url;
}

}  // namespace quire
