#include "cli/sse_parser.h"

namespace quire {

bool SseParser::feed(std::string_view bytes, const std::function<bool(std::string_view)>& on_data) {
  for (const char c : bytes) {
    if (c == '\n' && after_carriage_return_) {
      after_carriage_return_ = false;
      continue;
    }
    after_carriage_return_ = c == '\r';
    if (c != '\n' && c != '\r') {
      line_.push_back(c);
      continue;
    }
    if (line_.empty() && has_data_) {
      const std::string data = std::move(data_);
      data_.clear();
      has_data_ = false;
      if (!on_data(data)) {
        return false;
      }
    } else if (line_.rfind("data:", 0) == 0) {
      const size_t begin = line_.size() > 5 && line_[5] == ' ' ? 6 : 5;
      data_ += (has_data_ ? "\n" : "") + line_.substr(begin);
      has_data_ = true;
    }
    line_.clear();
  }
  return true;
}

}  // namespace quire
