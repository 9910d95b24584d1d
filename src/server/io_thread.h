// One I/O thread's event loop, its connections and its queue from the engine.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <unordered_set>

#include "server/result_queue.h"

namespace quire {

class Connection;

// Everything in it belongs to the thread that runs the loop.
struct IoThread {
  boost::asio::io_context loop{1};
  boost::asio::steady_timer sweep_timer{loop};  // checks the connections' deadlines
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::shared_ptr<ResultQueue> results;
};

}  // namespace quire
