#include "server/connection.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <cstdio>
#include <utility>

#include "server/admission.h"
#include "server/openai/errors.h"
#include "server/request_head.h"

namespace quire {
namespace {

namespace http = boost::beast::http;

constexpr size_t kReadBytes = 4096;  // at a time; small, for it is held while a request runs
constexpr size_t kBodyReadBytes = 64 << 10;       // at a time, of a body
constexpr size_t kMaxPipelinedBytes = 64 << 10;   // read ahead while a request is answered
constexpr size_t kMaxChunkHeadBytes = 16 << 10;   // chunk size line with extensions, or trailers
constexpr int kMaxUnsentKernelBytes = 128 << 10;  // so that a slow reader shows in our own buffer
constexpr double kLingerS = 2.0;

void set_socket_options(boost::asio::ip::tcp::socket& socket) {
  const auto set = [fd = socket.native_handle()](int level, int name, int value) {
    // Failure costs latency or late detection of dead peers, nothing else.
    static_cast<void>(::setsockopt(fd, level, name, &value, sizeof(value)));
  };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(IPPROTO_TCP, TCP_NOTSENT_LOWAT, kMaxUnsentKernelBytes);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 60);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
}

RequestError to_request_error(const ServerConfig& config, http::error error) {
  switch (error) {
    case http::error::header_limit:
    case http::error::buffer_overflow:
      return headers_too_large(config.max_header_bytes);
    case http::error::body_limit:
      return body_too_large(config.max_body_bytes);
    default:
      return http_error(
          400, "invalid_http",
          "The HTTP request is malformed: " + http::make_error_code(error).message() + ".");
  }
}

}  // namespace

Connection::Connection(IoThread& io, ServerContext& context, Socket socket)
    : io_(io), context_(context), socket_(std::move(socket)) {
  context_.num_connections.fetch_add(1, std::memory_order_relaxed);
}

Connection::~Connection() { context_.num_connections.fetch_sub(1, std::memory_order_relaxed); }

void Connection::start() {
  set_socket_options(socket_);
  deadline_s_ = monotonic_now_s() + context_.config.request_timeout_s;
  read();
}

void Connection::check_deadlines(double now_s) {
  if (state_ == State::kClosed) return;
  if (writing_ && now_s > write_deadline_s_) {
    cut_slow_reader();
    return;
  }
  if (state_ == State::kAnswering || now_s <= deadline_s_) return;
  if (state_ == State::kHead || state_ == State::kBody) {
    refuse(http_error(408, "request_timeout", "The request was not complete in time."));
  } else {
    close();
  }
}

void Connection::drain() {
  keep_alive_ = false;
  if (state_ == State::kIdle) close();
}

void Connection::shut_down() {
  keep_alive_ = false;
  if (const auto callback = std::exchange(on_shutdown_, nullptr)) callback();
}

void Connection::close() {
  if (state_ == State::kClosed) return;
  if (state_ == State::kAnswering) {
    abandon_exchange();
  } else {
    account_body(0);
  }
  state_ = State::kClosed;
  boost::system::error_code ignored;  // nothing is left to be done about a failed close
  socket_.close(ignored);
  io_.connections.erase(shared_from_this());
}

// ---- reading ----

void Connection::read() {
  if (reading_ || read_ended_ || state_ == State::kClosed) return;
  if (state_ == State::kAnswering && buffer_.size() >= kMaxPipelinedBytes) return;
  reading_ = true;
  const size_t size = state_ == State::kBody ? kBodyReadBytes : kReadBytes;
  socket_.async_read_some(
      buffer_.prepare(size),
      [self = shared_from_this()](boost::system::error_code error, size_t num_bytes) {
        self->on_read(error, num_bytes);
      });
}

void Connection::on_read(boost::system::error_code error, size_t num_bytes) {
  reading_ = false;
  if (state_ == State::kClosed) return;
  if (error) {
    on_read_end(error != boost::asio::error::eof);
    return;
  }
  buffer_.commit(num_bytes);
  if (state_ == State::kLingering) {
    buffer_.consume(num_bytes);
    lingered_bytes_ += static_cast<int64_t>(num_bytes);
    if (lingered_bytes_ > context_.config.max_body_bytes) {
      close();
      return;
    }
  }
  advance();
  read();
}

// A client that shuts its sending side is taken to be gone, as nginx does; an answer that is
// already complete is still written.
void Connection::on_read_end(bool reset) {
  read_ended_ = true;
  if (!reset && state_ == State::kAnswering && ended_) {
    keep_alive_ = false;
    return;
  }
  close();
}

void Connection::advance() {
  while (buffer_.size() > 0) {
    if (state_ == State::kIdle) {
      parser_.emplace();
      parser_->header_limit(static_cast<std::uint32_t>(context_.config.max_header_bytes));
      parser_->body_limit(static_cast<std::uint64_t>(context_.config.max_body_bytes));
      head_bytes_ = 0;
      request_ = {};
      route_ = nullptr;
      head_only_ = false;
      state_ = State::kHead;
      deadline_s_ = monotonic_now_s() + context_.config.request_timeout_s;
    }
    if (state_ != State::kHead && state_ != State::kBody) return;
    if (!feed_parser()) return;
  }
}

// False if more bytes are needed, or the request has been refused.
bool Connection::feed_parser() {
  boost::system::error_code error;
  const size_t consumed = parser_->put(buffer_.data(), error);
  buffer_.consume(consumed);
  if (error && error != http::error::need_more) {
    refuse(to_request_error(context_.config, static_cast<http::error>(error.value())));
    return false;
  }
  if (state_ == State::kHead) {
    head_bytes_ += consumed;
    // The parser limits what it has not yet consumed; headers that trickle in are limited here.
    if (head_bytes_ > static_cast<size_t>(context_.config.max_header_bytes)) {
      refuse(headers_too_large(context_.config.max_header_bytes));
      return false;
    }
    if (!parser_->is_header_done()) return false;
    on_head();
    return true;
  }
  if (state_ == State::kBody) {
    account_body(static_cast<int64_t>(parser_->get().body().size()));
    if (context_.buffered_body_bytes.load(std::memory_order_relaxed) >
        context_.config.max_buffered_body_bytes) {
      refuse(overloaded(503));
      return false;
    }
    if (parser_->is_done()) {
      on_request();
      return true;
    }
  }
  if (buffer_.size() > kMaxChunkHeadBytes && error == http::error::need_more) {
    refuse(http_error(400, "invalid_http", "A chunk header of the body is too long."));
    return false;
  }
  return error != http::error::need_more;
}

std::optional<RequestError> Connection::take_head() {
  const auto& message = parser_->get();
  http_1_0_ = message.version() == 10;
  keep_alive_ = message.keep_alive() && !context_.draining;
  request_.method = std::string(message.method_string());
  for (const auto& field : message) {
    request_.headers.push_back({std::string(field.name_string()), std::string(field.value())});
  }
  head_only_ = request_.method == "HEAD";
  request_.request_id = choose_request_id(request_.header("x-request-id"));
  const std::string_view target(message.target().data(), message.target().size());
  if (auto problem = check_head({.http_1_0 = http_1_0_, .chunked = parser_->chunked()}, request_)) {
    return http_error(problem->status, "invalid_http", problem->message);
  }
  auto path = path_of_target(target);
  if (!path) return http_error(400, "invalid_http", "The request target is malformed.");
  request_.path = std::move(*path);
  return std::nullopt;
}

void Connection::on_head() {
  route_ = nullptr;
  if (auto error = take_head()) {
    refuse(*error);
    return;
  }
  Admission admission = admit(context_, request_);
  route_ = admission.route;
  const bool has_body = !parser_->is_done();
  if (admission.refusal) {
    if (has_body) keep_alive_ = false;  // the body is not read
    begin_exchange();
    send(exchange_, std::move(*admission.refusal));
    return;
  }
  if (!has_body) {
    on_request();
    return;
  }
  if (!request_.header("expect").empty() && !http_1_0_) {
    pending_.append("HTTP/1.1 100 Continue\r\n\r\n");
    flush();
  }
  state_ = State::kBody;
  parser_->eager(true);
}

void Connection::on_request() {
  request_.body = std::move(parser_->get().body());
  request_.arrival_time_s = monotonic_now_s();
  parser_.reset();
  begin_exchange();
  HttpRequest request = std::move(request_);
  request_ = {};
  request_.method = request.method;  // the answer's head and the metrics need these two
  request_.request_id = request.request_id;
  dispatch(context_, *route_, std::move(request), ResponseWriter(shared_from_this(), exchange_));
}

// Sets this connection's share of the buffered bytes.
void Connection::account_body(int64_t bytes) {
  context_.buffered_body_bytes.fetch_add(bytes - accounted_body_bytes_, std::memory_order_relaxed);
  accounted_body_bytes_ = bytes;
}

// Answers a request that cannot be read to its end.
void Connection::refuse(const RequestError& error) {
  keep_alive_ = false;
  begin_exchange();
  send(exchange_, error_response(error));
}

// ---- answering ----

void Connection::begin_exchange() {
  state_ = State::kAnswering;
  ended_ = false;
  chunked_ = false;
  exchange_start_s_ = monotonic_now_s();
  note_.clear();
  live_exchange_.store(++exchange_, std::memory_order_relaxed);
  context_.num_exchanges.fetch_add(1, std::memory_order_relaxed);
}

void Connection::append_head(const HttpResponse& response, BodyFraming framing) {
  status_ = response.status;
  if (framing == BodyFraming::kUntilClose || context_.draining) keep_alive_ = false;
  const bool show_id = context_.config.enable_request_id_headers;
  pending_.append(
      serialize_head({.status = response.status,
                      .content_type = response.content_type,
                      .headers = &response.headers,
                      .framing = framing,
                      .content_length = response.body.size(),
                      .keep_alive = keep_alive_,
                      .request_id = show_id ? std::string_view(request_.request_id) : ""}));
}

void Connection::send(uint64_t exchange, HttpResponse&& response) {
  if (!answering(exchange)) return;
  append_head(response, BodyFraming::kContentLength);
  if (!head_only_) pending_.append(response.body);
  finish_answer();
}

void Connection::begin_stream(uint64_t exchange) {
  if (!answering(exchange)) return;
  chunked_ = !http_1_0_;
  const HttpResponse head{.status = 200,
                          .content_type = "text/event-stream; charset=utf-8",
                          .headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}}};
  append_head(head, chunked_ ? BodyFraming::kChunked : BodyFraming::kUntilClose);
}

void Connection::write(uint64_t exchange, std::string_view bytes) {
  if (!answering(exchange) || bytes.empty()) return;
  if (chunked_) {
    append_chunk(pending_, bytes);
  } else {
    pending_.append(bytes);
  }
  const size_t unsent = flight_.size() - flight_offset_ + pending_.size();
  if (std::cmp_greater(unsent, context_.config.max_pending_output_bytes)) {
    cut_slow_reader();
    return;
  }
  flush();
}

void Connection::end(uint64_t exchange, bool close_connection) {
  if (!answering(exchange)) return;
  if (chunked_) pending_.append("0\r\n\r\n");
  if (close_connection) keep_alive_ = false;
  finish_answer();
}

void Connection::on_disconnect(uint64_t exchange, std::function<void()> callback) {
  if (answering(exchange)) on_disconnect_ = std::move(callback);
}

void Connection::on_shutdown(uint64_t exchange, std::function<void()> callback) {
  if (answering(exchange)) on_shutdown_ = std::move(callback);
}

void Connection::annotate(uint64_t exchange, std::string note) {
  if (state_ == State::kAnswering && exchange == exchange_) note_ = std::move(note);
}

void Connection::post(std::function<void()> task) { boost::asio::post(io_.loop, std::move(task)); }

void Connection::finish_answer() {
  ended_ = true;
  live_exchange_.store(0, std::memory_order_relaxed);
  on_disconnect_ = nullptr;
  on_shutdown_ = nullptr;
  context_.metrics.count_http(route_ != nullptr ? route_->path : "none",
                              request_method_label(request_.method), status_);
  log_exchange(std::to_string(status_));
  flush();
}

// Names the route, not the path, which is the client's text.  Probes and lists are not worth a
// line.
void Connection::log_exchange(const std::string& outcome) {
  if (!context_.config.log_request) return;
  if (route_ != nullptr && (route_->runs_on == RunsOn::kIoThread || route_->method == "GET"))
    return;
  std::array<char, 32> time_ms{};
  std::snprintf(time_ms.data(), time_ms.size(), "%.1f ms",
                (monotonic_now_s() - exchange_start_s_) * 1e3);
  std::string line = "request " + request_.request_id + " ";
  line += request_method_label(request_.method);
  line += ' ';
  line += route_ != nullptr ? route_->path : "unknown-route";
  line += " " + outcome + " in " + time_ms.data();
  if (!note_.empty()) line += " " + note_;
  context_.config.log_request(line);
}

void Connection::flush() {
  if (writing_ || pending_.empty()) return;
  flight_.swap(pending_);
  pending_.clear();
  flight_offset_ = 0;
  writing_ = true;
  write_some();
}

void Connection::write_some() {
  write_deadline_s_ = monotonic_now_s() + context_.config.write_stall_timeout_s;
  socket_.async_write_some(
      boost::asio::buffer(flight_.data() + flight_offset_, flight_.size() - flight_offset_),
      [self = shared_from_this()](boost::system::error_code error, size_t num_bytes) {
        self->on_write(error, num_bytes);
      });
}

void Connection::on_write(boost::system::error_code error, size_t num_bytes) {
  if (state_ == State::kClosed) return;
  if (error) {
    close();
    return;
  }
  flight_offset_ += num_bytes;
  if (flight_offset_ < flight_.size()) {
    write_some();
    return;
  }
  writing_ = false;
  flight_.clear();
  flight_offset_ = 0;
  flush();
  if (!writing_ && state_ == State::kAnswering && ended_) finish_exchange();
}

void Connection::release_exchange() {
  account_body(0);
  request_ = {};
  context_.num_exchanges.fetch_sub(1, std::memory_order_relaxed);
}

void Connection::finish_exchange() {
  release_exchange();
  state_ = State::kIdle;  // before linger(), which may close: nothing is being answered
  if (flight_.capacity() > kMaxPipelinedBytes) flight_.shrink_to_fit();
  if (pending_.capacity() > kMaxPipelinedBytes) pending_.shrink_to_fit();
  if (!keep_alive_ || context_.draining) {
    linger();
    return;
  }
  deadline_s_ = monotonic_now_s() + context_.config.keep_alive_timeout_s;
  advance();
  read();
}

// The client has gone, or is being sent away, in the middle of an answer.
void Connection::abandon_exchange() {
  live_exchange_.store(0, std::memory_order_relaxed);
  on_shutdown_ = nullptr;
  const bool unfinished = !std::exchange(ended_, true);
  if (unfinished) context_.metrics.count_disconnect();
  if (const auto callback = std::exchange(on_disconnect_, nullptr)) callback();
  if (unfinished) log_exchange("client-gone");
  release_exchange();
}

void Connection::cut_slow_reader() {
  context_.metrics.count_slow_reader();
  close();
}

// Closing a socket with unread input would reset the connection and may lose the answer.
void Connection::linger() {
  if (read_ended_) {
    close();
    return;
  }
  boost::system::error_code error;
  socket_.shutdown(Socket::shutdown_send, error);
  if (error) {
    close();
    return;
  }
  state_ = State::kLingering;
  deadline_s_ = monotonic_now_s() + kLingerS;
  lingered_bytes_ = 0;
  buffer_.consume(buffer_.size());
  parser_.reset();
  read();
}

}  // namespace quire
