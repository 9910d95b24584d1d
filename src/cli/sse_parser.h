// Server-sent events out of bytes as they arrive.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace quire {

// Source: WHATWG HTML, 9.2.6 "Interpreting an event stream"; only the data field is kept.
class SseParser {
 public:
  // Calls on_data with the data of each event that `bytes` completes; lines of one event are joined
  // with '\n'.  Ends early, returning false, when on_data does.
  bool feed(std::string_view bytes, const std::function<bool(std::string_view)>& on_data);

 private:
  std::string line_;
  std::string data_;
  bool has_data_ = false;
  bool after_carriage_return_ = false;  // a '\n' that follows belongs to the same line end
};

}  // namespace quire
