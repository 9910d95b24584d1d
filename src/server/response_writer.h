// The answering side of one HTTP exchange, as handlers see it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "server/http.h"
#include "server/result_queue.h"

namespace quire {

class Connection;

// A handle; copies answer the same exchange.  Exactly one of send() and begin_stream() is called;
// calls after the end of the exchange, or after the client has gone, do nothing. Thread: the
// connection's I/O thread, but for post() and gone().
class ResponseWriter {
 public:
  ResponseWriter(std::shared_ptr<Connection> connection, uint64_t exchange);

  void send(HttpResponse&& response) const;

  // Server-sent events: begin, write any number of times, end.
  void begin_stream() const;
  void write(std::string_view bytes) const;
  // With close_connection the connection is not used again (the stream ended badly).
  void end(bool close_connection = false) const;

  // `callback` runs once if the client vanishes, or is cut for reading too slowly, before the end.
  void on_disconnect(std::function<void()> callback) const;
  // `callback` runs once if the server gives up waiting for the exchange to end.
  void on_shutdown(std::function<void()> callback) const;

  // Adds to the exchange's line in the request log.  Call it before the exchange ends, or from
  // on_disconnect's callback.
  void annotate(std::string note) const;
  // Runs `task` on the I/O thread.  Any thread.
  void post(std::function<void()> task) const;
  // True once the exchange has ended or the client has gone.  Any thread.
  bool gone() const;
  // Where the engine's results for this exchange go.
  const std::shared_ptr<ResultQueue>& results() const;

 private:
  std::shared_ptr<Connection> connection_;
  uint64_t exchange_;
};

}  // namespace quire
