#include "server/server.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <ctime>
#include <thread>
#include <utility>

#include "server/connection.h"
#include "server/io_thread.h"
#include "server/openai/errors.h"
#include "server/server_context.h"

namespace quire {
namespace {

using boost::asio::ip::tcp;
using std::chrono::milliseconds;

constexpr auto kSweepInterval = milliseconds(100);
constexpr auto kDrainPoll = milliseconds(10);
constexpr auto kAcceptBackoff = milliseconds(100);  // after EMFILE and its like
constexpr double kLastWordsS = 2.0;  // for the errors sent to those who were not done in time

int64_t longest_token_bytes(const Tokenizer* tokenizer) {
  size_t longest = 1;
  for (int id = 0; tokenizer != nullptr && id < tokenizer->vocab_size(); ++id) {
    longest = std::max(longest, tokenizer->token_bytes(id).size());
  }
  return static_cast<int64_t>(longest);
}

[[noreturn]] void refuse_address(const std::string& host, uint16_t port,
                                 const boost::system::system_error& error) {
  throw LoadError("cannot listen on " + host + ":" + std::to_string(port) + ": " +
                  error.code().message() + "; choose another --host or --port");
}

}  // namespace

class BoundAddress::Acceptor {
 public:
  Acceptor(const std::string& host, uint16_t port) : host_(host), port_(port) {
    try {
      tcp::resolver resolver(loop_);
      const tcp::endpoint endpoint =
          resolver.resolve(host, std::to_string(port), tcp::resolver::passive).begin()->endpoint();
      protocol_ = endpoint.protocol();
      acceptor_.open(protocol_);
      acceptor_.set_option(tcp::acceptor::reuse_address(true));
      acceptor_.bind(endpoint);
    } catch (const boost::system::system_error& error) {
      refuse_address(host, port, error);
    }
  }

  // Gives the address to a loop, once.
  tcp::acceptor listen(boost::asio::io_context& loop) {
    try {
      tcp::acceptor acceptor(loop, protocol_, acceptor_.release());
      acceptor.listen();
      return acceptor;
    } catch (const boost::system::system_error& error) {
      refuse_address(host_, port_, error);
    }
  }

 private:
  std::string host_;
  uint16_t port_ = 0;
  boost::asio::io_context loop_{1};
  tcp protocol_ = tcp::v4();
  tcp::acceptor acceptor_{loop_};
};

BoundAddress::BoundAddress(const std::string& host, uint16_t port)
    : acceptor_(std::make_unique<Acceptor>(host, port)) {}
BoundAddress::BoundAddress(BoundAddress&& other) noexcept = default;
BoundAddress::~BoundAddress() = default;

ServerContext::ServerContext(const ServerConfig& server_config, EngineClient& engine_client,
                             const TextModel& text_model)
    : config(server_config),
      engine(engine_client),
      text(text_model),
      input_processor(engine_client, text_model.tokenizer, server_config.limits),
      created_unix_s(std::time(nullptr)),
      max_token_bytes(longest_token_bytes(text_model.tokenizer)),
      metrics(server_config.served_model_names.front(), engine_client.info()),
      adapter_usage(server_config.max_requests_per_adapter),
      workers(std::max(1, server_config.num_worker_threads),
              static_cast<size_t>(server_config.max_queued_preparations)),
      adapter_workers(std::max(1, server_config.num_adapter_threads),
                      static_cast<size_t>(server_config.max_queued_preparations)) {}

// The main loop is that of io_threads_[0]; it alone accepts and drains.
class Server::State {
 public:
  State(const ServerConfig& config, EngineClient& engine, const TextModel& text,
        BoundAddress::Acceptor& address)
      : context_(std::make_unique<ServerContext>(config, engine, text)),
        io_threads_(make_io_threads(config)),
        acceptor_(address.listen(io_threads_[0]->loop)) {
    accept();
    for (const auto& io : io_threads_) sweep(*io);
  }

  ~State() {
    context_->workers.stop();
    context_->adapter_workers.stop();
    for (const auto& io : io_threads_) io->results->close();
    for (const auto& io : io_threads_) close_all(*io);
  }

  uint16_t port() const { return port_; }

  void run() {
    std::vector<std::thread> threads;
    for (size_t i = 1; i < io_threads_.size(); ++i) {
      threads.emplace_back([&loop = io_threads_[i]->loop] { loop.run(); });
    }
    io_threads_[0]->loop.run();
    for (std::thread& thread : threads) thread.join();
  }

  void stop() {
    boost::asio::post(io_threads_[0]->loop, [this] { begin_drain(); });
  }

 private:
  static std::vector<std::unique_ptr<IoThread>> make_io_threads(const ServerConfig& config) {
    std::vector<std::unique_ptr<IoThread>> threads;
    for (int i = 0; i < std::max(1, config.io_threads); ++i) {
      threads.push_back(std::make_unique<IoThread>());
      IoThread& io = *threads.back();
      io.results = std::make_shared<ResultQueue>(config.max_queued_result_bytes, [&io] {
        boost::asio::post(io.loop, [&io] { deliver_results(*io.results); });
      });
    }
    return threads;
  }

  static void deliver_results(ResultQueue& results) {
    for (Delivery& delivery : results.take()) {
      const auto generation = delivery.generation.lock();
      if (generation == nullptr) continue;
      if (delivery.overflowed) {
        generation->lose_results();
      } else {
        generation->deliver(delivery.sequence, std::move(delivery.result));
      }
    }
  }

  void accept() {
    IoThread& io = *io_threads_[next_io_thread_];
    next_io_thread_ = (next_io_thread_ + 1) % io_threads_.size();
    acceptor_.async_accept(
        io.loop, [this, &io](boost::system::error_code error, tcp::socket socket) {
          if (!error) {
            admit_connection(io, std::move(socket));
            accept();
          } else if (error != boost::asio::error::operation_aborted) {
            accept_timer_.expires_after(kAcceptBackoff);
            accept_timer_.async_wait([this](boost::system::error_code) { accept(); });
          }
        });
  }

  void admit_connection(IoThread& io, tcp::socket socket) {
    if (context_->num_connections.load() >= context_->config.max_connections) {
      refuse_connection(std::move(socket));
      return;
    }
    auto connection = std::make_shared<Connection>(io, *context_, std::move(socket));
    boost::asio::post(io.loop, [&io, connection] {
      io.connections.insert(connection);
      connection->start();
    });
  }

  // Too many connections: one answer, without waiting for a request.
  void refuse_connection(tcp::socket socket) {
    context_->metrics.count_rejected(503);
    const HttpResponse response = error_response(overloaded(503));
    const std::string bytes = serialize_head({.status = response.status,
                                              .content_type = response.content_type,
                                              .headers = &response.headers,
                                              .content_length = response.body.size(),
                                              .keep_alive = false,
                                              .request_id = {}}) +
                              response.body;
    boost::system::error_code ignored;  // the client is turned away in any case
    socket.non_blocking(true, ignored);
    socket.write_some(boost::asio::buffer(bytes), ignored);
    socket.shutdown(tcp::socket::shutdown_send, ignored);
  }

  template <typename Action>
  static void for_each_connection(IoThread& io, Action action) {
    const std::vector<std::shared_ptr<Connection>> connections(io.connections.begin(),
                                                               io.connections.end());
    for (const auto& connection : connections) action(*connection);
  }

  static void close_all(IoThread& io) {
    for_each_connection(io, [](Connection& connection) { connection.close(); });
  }

  void sweep(IoThread& io) {
    io.sweep_timer.expires_after(kSweepInterval);
    io.sweep_timer.async_wait([this, &io](boost::system::error_code error) {
      if (error) return;
      for_each_connection(io,
                          [now_s = monotonic_now_s()](Connection& c) { c.check_deadlines(now_s); });
      if (&io == io_threads_[0].get()) watch_engine();
      sweep(io);
    });
  }

  // A failed engine does not come back: the process is to be replaced.
  void watch_engine() {
    if (!context_->config.stop_on_engine_failure || context_->draining) return;
    if (!context_->engine.stats().healthy) begin_drain();
  }

  template <typename Action>
  void on_all_connections(Action action) {
    for (const auto& io : io_threads_) {
      boost::asio::post(io->loop, [&io = *io, action] { for_each_connection(io, action); });
    }
  }

  void begin_drain() {
    const bool again = context_->draining.exchange(true);
    drain_deadline_s_ = monotonic_now_s() + (again ? 0.0 : context_->config.shutdown_timeout_s);
    if (again) return;
    on_all_connections([](Connection& connection) { connection.drain(); });
    poll_drain();
  }

  void poll_drain() {
    const double now_s = monotonic_now_s();
    if (context_->num_exchanges.load() == 0 || now_s > drain_deadline_s_ + kLastWordsS) {
      for (const auto& io : io_threads_) io->loop.stop();
      return;
    }
    if (now_s >= drain_deadline_s_ && !std::exchange(gave_up_, true)) {
      on_all_connections([](Connection& connection) { connection.shut_down(); });
    }
    drain_timer_.expires_after(kDrainPoll);
    drain_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) poll_drain();
    });
  }

  std::unique_ptr<ServerContext> context_;  // outlives the connections that the loops hold
  std::vector<std::unique_ptr<IoThread>> io_threads_;
  tcp::acceptor acceptor_;
  const uint16_t port_ = acceptor_.local_endpoint().port();
  boost::asio::steady_timer accept_timer_{io_threads_[0]->loop};
  boost::asio::steady_timer drain_timer_{io_threads_[0]->loop};
  size_t next_io_thread_ = 0;
  double drain_deadline_s_ = 0.0;
  bool gave_up_ = false;
};

Server::Server(const ServerConfig& config, EngineClient& engine, const TextModel& text,
               BoundAddress address)
    : state_(std::make_unique<State>(config, engine, text, *address.acceptor_)) {}
Server::~Server() = default;
uint16_t Server::port() const { return state_->port(); }
void Server::run() { state_->run(); }
void Server::stop() { state_->stop(); }

}  // namespace quire
