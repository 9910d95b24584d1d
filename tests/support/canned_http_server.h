// An HTTP server for tests of clients: answers each request from a function, on a thread of its
// own, one connection at a time.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "base/check.h"

namespace quire {

class CannedHttpServer {
 public:
  // The whole answer, status line and headers included, to a request (head and body).
  using Answer = std::function<std::string(const std::string& request)>;

  explicit CannedHttpServer(Answer answer) : answer_(std::move(answer)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    CHECK(bind(listener_, reinterpret_cast<sockaddr*>(&address), size) == 0);
    CHECK(listen(listener_, 64) == 0);
    CHECK(getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~CannedHttpServer() {
    stopping_ = true;
    thread_.join();
    close(listener_);
  }
  CannedHttpServer(const CannedHttpServer&) = delete;
  CannedHttpServer& operator=(const CannedHttpServer&) = delete;

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }

  static std::string ok(const std::string& body, const std::string& type = "application/json") {
    return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: " + type + "\r\n\r\n" + body;
  }

 private:
  void run() {
    while (!stopping_) {
      pollfd waiting{listener_, POLLIN, 0};
      if (poll(&waiting, 1, 20) != 1) continue;
      const int connection = accept(listener_, nullptr, nullptr);
      const std::string reply = answer_(read_request(connection));
      size_t sent = 0;
      while (sent < reply.size()) {
        const ssize_t count =
            send(connection, reply.data() + sent, reply.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) break;
        sent += static_cast<size_t>(count);
      }
      close(connection);
    }
  }

  static std::string read_request(int connection) {
    std::string request;
    char buffer[4096];
    while (true) {
      const size_t head_end = request.find("\r\n\r\n");
      if (head_end != std::string::npos) {
        const size_t field = request.find("Content-Length: ");
        const size_t length = field < head_end ? std::stoul(request.substr(field + 16)) : 0;
        if (request.size() >= head_end + 4 + length) return request;
      }
      const ssize_t count = recv(connection, buffer, sizeof(buffer), 0);
      if (count <= 0) return request;
      request.append(buffer, static_cast<size_t>(count));
    }
  }

  Answer answer_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace quire
