#include "server/json.h"

#include <optional>
#include <utility>
#include <vector>

namespace quire {
namespace {

RequestError bad_json(std::string message) {
  return {.http_status = 400, .code = "invalid_json", .param = {}, .message = std::move(message)};
}

// One pass over the bytes before anything is allocated.  Malformed text passes: the parser reports
// it.
class LimitScanner {
 public:
  explicit LimitScanner(const JsonLimits& limits) : limits_(limits) {}

  std::optional<std::string> scan(std::string_view text) {
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '"') {
        i = end_of_string(text, i);
      } else if (auto problem = punctuation(text[i])) {
        return problem;
      }
    }
    return std::nullopt;
  }

 private:
  // The index of the closing quote, or the last index of an unterminated string.
  static size_t end_of_string(std::string_view text, size_t open) {
    size_t i = open + 1;
    while (i < text.size() && text[i] != '"') i += text[i] == '\\' ? 2 : 1;
    return i;
  }

  std::optional<std::string> punctuation(char c) {
    switch (c) {
      case '{':
      case '[':
        members_.push_back(0);
        if (std::cmp_greater(members_.size(), limits_.max_depth)) {
          return "is nested deeper than " + std::to_string(limits_.max_depth) + " levels";
        }
        break;
      case '}':
      case ']':
        if (!members_.empty()) members_.pop_back();
        break;
      case ',':
        if (++num_values_ > limits_.max_values) {
          return "has more than " + std::to_string(limits_.max_values) + " values";
        }
        break;
      case ':':
        if (++num_members_ > limits_.max_members ||
            (!members_.empty() && ++members_.back() > limits_.max_members_per_object)) {
          return "has too many object members";
        }
        break;
      default:
        break;
    }
    return std::nullopt;
  }

  const JsonLimits& limits_;
  std::vector<int64_t> members_;  // of the objects and arrays that are open
  int64_t num_values_ = 0;
  int64_t num_members_ = 0;
};

}  // namespace

Expected<Json, RequestError> parse_json_object(std::string_view text, const JsonLimits& limits) {
  if (auto problem = LimitScanner(limits).scan(text)) {
    return Unexpected{bad_json("The JSON body " + *problem + ".")};
  }
  try {
    Json value = Json::parse(text);
    if (!value.is_object()) {
      return Unexpected{bad_json(std::string("The body must be a JSON object, but it is of type ") +
                                 value.type_name() + ".")};
    }
    return value;
  } catch (const Json::exception& error) {
    std::string reason = error.what();
    if (const size_t end = reason.find("] "); end != std::string::npos) reason.erase(0, end + 2);
    return Unexpected{bad_json("The body is not valid JSON: " + reason)};
  }
}

std::string dump_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace quire
