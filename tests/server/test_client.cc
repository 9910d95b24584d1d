#include "server/test_client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

TestClient::TestClient(uint16_t port, int receive_buffer_bytes)
    : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
  CHECK(socket_ >= 0, "no socket");
  if (receive_buffer_bytes > 0) {
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes,
                 sizeof(receive_buffer_bytes));
  }
  const timeval timeout{.tv_sec = 20, .tv_usec = 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0,
        "cannot connect");
}

TestClient::~TestClient() { close(); }

void TestClient::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void TestClient::reset() {
  const linger immediately{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &immediately, sizeof(immediately));
  close();
}

void TestClient::finish_sending() { ::shutdown(socket_, SHUT_WR); }

void TestClient::send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

bool TestClient::fill() {
  char bytes[16384];
  const ssize_t received = ::recv(socket_, bytes, sizeof(bytes), 0);
  if (received <= 0) return false;
  buffer_.append(bytes, static_cast<size_t>(received));
  return true;
}

std::string TestClient::receive_some(size_t size) {
  while (buffer_.size() < size && fill()) {
  }
  return std::exchange(buffer_, {});
}

bool TestClient::wait_for_end() {
  char bytes[16384];
  ssize_t received = 0;
  while ((received = ::recv(socket_, bytes, sizeof(bytes), 0)) > 0) {
  }
  return received == 0 || errno == ECONNRESET;
}

ClientResponse TestClient::receive(bool head_only) {
  size_t head_end = 0;
  while ((head_end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!fill()) return {};
  }
  ClientResponse response;
  const std::string head = buffer_.substr(0, head_end + 2);
  buffer_.erase(0, head_end + 4);
  const int status = std::atoi(head.c_str() + head.find(' '));
  for (size_t line = head.find("\r\n") + 2; line < head.size();) {
    const size_t end = head.find("\r\n", line);
    const size_t colon = head.find(':', line);
    response.headers[lower(head.substr(line, colon - line))] =
        head.substr(colon + 2, end - colon - 2);
    line = end + 2;
  }
  if (status == 100) return receive(head_only);
  const bool chunked = response.headers.contains("transfer-encoding");
  while (chunked) {
    size_t line_end = 0;
    while ((line_end = buffer_.find("\r\n")) == std::string::npos) {
      if (!fill()) return {};
    }
    const size_t size = std::strtoul(buffer_.c_str(), nullptr, 16);
    while (buffer_.size() < line_end + 2 + size + 2) {
      if (!fill()) return {};
    }
    response.body += buffer_.substr(line_end + 2, size);
    buffer_.erase(0, line_end + 2 + size + 2);
    if (size == 0) break;
  }
  if (!chunked && !head_only && response.headers.contains("content-length")) {
    const size_t size = std::strtoul(response.headers["content-length"].c_str(), nullptr, 10);
    while (buffer_.size() < size) {
      if (!fill()) return {};
    }
    response.body = buffer_.substr(0, size);
    buffer_.erase(0, size);
  }
  response.status = status;
  return response;
}

std::string http_get(std::string_view path, std::string_view headers, std::string_view method) {
  return std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n" +
         std::string(headers) + "\r\n";
}

std::string http_post(std::string_view path, std::string_view json, std::string_view headers) {
  return "POST " + std::string(path) +
         " HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(json.size()) + "\r\n" + std::string(headers) + "\r\n" + std::string(json);
}

ClientResponse TestClient::get(std::string_view path, std::string_view headers) {
  send(http_get(path, headers));
  return receive();
}

ClientResponse TestClient::post(std::string_view path, std::string_view json,
                                std::string_view headers) {
  send(http_post(path, json, headers));
  return receive();
}

}  // namespace quire
