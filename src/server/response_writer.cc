#include "server/response_writer.h"

#include <utility>

#include "server/connection.h"

namespace quire {

ResponseWriter::ResponseWriter(std::shared_ptr<Connection> connection, uint64_t exchange)
    : connection_(std::move(connection)), exchange_(exchange) {}
void ResponseWriter::send(HttpResponse&& response) const {
  connection_->send(exchange_, std::move(response));
}
void ResponseWriter::begin_stream() const { connection_->begin_stream(exchange_); }
void ResponseWriter::write(std::string_view bytes) const { connection_->write(exchange_, bytes); }
void ResponseWriter::annotate(std::string note) const {
  connection_->annotate(exchange_, std::move(note));
}
void ResponseWriter::end(bool close_connection) const {
  connection_->end(exchange_, close_connection);
}
void ResponseWriter::on_disconnect(std::function<void()> callback) const {
  connection_->on_disconnect(exchange_, std::move(callback));
}
void ResponseWriter::on_shutdown(std::function<void()> callback) const {
  connection_->on_shutdown(exchange_, std::move(callback));
}
void ResponseWriter::post(std::function<void()> task) const { connection_->post(std::move(task)); }
bool ResponseWriter::gone() const { return !connection_->is_live(exchange_); }
const std::shared_ptr<ResultQueue>& ResponseWriter::results() const {
  return connection_->results();
}

}  // namespace quire
