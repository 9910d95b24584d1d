// A plain blocking HTTP client over a socket, so that tests decide every byte and when it is sent.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace quire {

struct ClientResponse {
  int status = 0;                              // 0 = the connection ended before a whole answer
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // with the chunked coding removed
};

class TestClient {
 public:
  // `receive_buffer_bytes` 0 = the system's choice.
  explicit TestClient(uint16_t port, int receive_buffer_bytes = 0);
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void send(std::string_view bytes);  // errors are ignored: the server may have closed
  // Reads one whole answer; gives up after 20 s.  With head_only no body follows (HEAD).
  ClientResponse receive(bool head_only = false);
  // Reads until at least `size` bytes have come, or the end; what was read and not yet taken.
  std::string receive_some(size_t size);
  bool wait_for_end();  // true if the server closes within 20 s
  void reset();         // closes with RST
  void close();
  void finish_sending();  // half-close

  ClientResponse get(std::string_view path, std::string_view headers = {});
  ClientResponse post(std::string_view path, std::string_view json, std::string_view headers = {});

 private:
  bool fill();  // false at the end

  int socket_ = -1;
  std::string buffer_;
};

std::string http_get(std::string_view path, std::string_view headers = {},
                     std::string_view method = "GET");
std::string http_post(std::string_view path, std::string_view json, std::string_view headers = {});

}  // namespace quire
