// The events of a server-sent stream.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace quire {

// The JSON events; checks the framing and that the stream ends with [DONE].
inline std::vector<nlohmann::json> parse_events(std::string_view stream) {
  std::vector<nlohmann::json> events;
  bool done = false;
  while (!stream.empty()) {
    const size_t end = stream.find("\n\n");
    EXPECT_NE(end, std::string_view::npos) << "an event without end";
    EXPECT_TRUE(stream.starts_with("data: "));
    EXPECT_FALSE(done) << "an event after [DONE]";
    if (end == std::string_view::npos || !stream.starts_with("data: ")) return events;
    const std::string_view data = stream.substr(6, end - 6);
    if (data == "[DONE]") {
      done = true;
    } else {
      events.push_back(nlohmann::json::parse(data));
    }
    stream.remove_prefix(end + 2);
  }
  EXPECT_TRUE(done) << "no [DONE]";
  return events;
}

}  // namespace quire
