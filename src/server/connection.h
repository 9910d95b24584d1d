// One client connection: HTTP/1.1 requests in, one after the other, and their answers out.
// Knows no routes and no JSON but for its own refusals.
#pragma once

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "server/http.h"
#include "server/io_thread.h"
#include "server/routes.h"
#include "server/server_context.h"

namespace quire {

// Thread: its IoThread, except where noted.  It reads at all times, so that a vanished client is
// noticed while its request runs; what a pipelining client sends ahead waits in a bounded buffer.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  Connection(IoThread& io, ServerContext& context, Socket socket);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start();
  // Called a few times per second.
  void check_deadlines(double now_s);
  // Closes now if nothing is being answered, else after the answer.
  void drain();
  // Ends what is being answered with an error.
  void shut_down();
  // Closes at once.
  void close();

  // The answering side; see ResponseWriter.  `exchange` names the request that is answered.
  void send(uint64_t exchange, HttpResponse&& response);
  void begin_stream(uint64_t exchange);
  void write(uint64_t exchange, std::string_view bytes);
  void end(uint64_t exchange, bool close_connection);
  void on_disconnect(uint64_t exchange, std::function<void()> callback);
  void on_shutdown(uint64_t exchange, std::function<void()> callback);
  void annotate(uint64_t exchange, std::string note);
  // Any thread.
  void post(std::function<void()> task);
  bool is_live(uint64_t exchange) const {
    return live_exchange_.load(std::memory_order_relaxed) == exchange;
  }
  const std::shared_ptr<ResultQueue>& results() const { return io_.results; }

 private:
  enum class State {
    kIdle,       // between requests
    kHead,       // reading request line and headers
    kBody,       // reading a body
    kAnswering,  // from the end of the request, or its refusal, to the last byte of the answer
    kLingering,  // answered for good; reads on so that the answer is not lost to a reset
    kClosed,
  };

  void read();
  void on_read(boost::system::error_code error, size_t num_bytes);
  void on_read_end(bool reset);
  // Parses what is buffered, up to the end of one request.
  void advance();
  bool feed_parser();
  void on_head();
  std::optional<RequestError> take_head();
  void on_request();
  void account_body(int64_t bytes);
  void refuse(const RequestError& error);

  void begin_exchange();
  bool answering(uint64_t exchange) const {
    return state_ == State::kAnswering && exchange == exchange_ && !ended_;
  }
  void append_head(const HttpResponse& response, BodyFraming framing);
  void finish_answer();
  void flush();
  void write_some();
  void on_write(boost::system::error_code error, size_t num_bytes);
  // Writes the exchange's line to the request log; `outcome` is its status.
  void log_exchange(const std::string& outcome);
  void finish_exchange();
  void release_exchange();
  void abandon_exchange();
  void cut_slow_reader();
  void linger();

  IoThread& io_;
  ServerContext& context_;
  Socket socket_;
  State state_ = State::kIdle;
  double deadline_s_ = 0.0;        // of the state; kAnswering has none
  double write_deadline_s_ = 0.0;  // of the write in progress

  // Reading.
  boost::beast::flat_buffer buffer_;
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  std::optional<Parser> parser_;
  HttpRequest request_;
  const Route* route_ = nullptr;
  size_t head_bytes_ = 0;
  int64_t accounted_body_bytes_ = 0;
  int64_t lingered_bytes_ = 0;
  bool reading_ = false;
  bool read_ended_ = false;  // the client has shut its side

  // Answering.
  uint64_t exchange_ = 0;
  std::atomic<uint64_t> live_exchange_{0};
  std::function<void()> on_disconnect_;
  std::function<void()> on_shutdown_;
  bool http_1_0_ = false;
  bool keep_alive_ = true;
  bool head_only_ = false;  // HEAD
  bool chunked_ = false;
  bool ended_ = false;  // the answer is complete, perhaps not yet written
  int status_ = 0;
  double exchange_start_s_ = 0.0;
  std::string note_;  // for the request log

  // Writing: `flight_` belongs to the socket until it is written, `pending_` follows.
  std::string flight_;
  std::string pending_;
  size_t flight_offset_ = 0;
  bool writing_ = false;
};

}  // namespace quire
