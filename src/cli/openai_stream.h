// One streamed answer of an OpenAI server, chunk by chunk.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "cli/sse_parser.h"

namespace quire {

// What a chunk of /v1/completions or /v1/chat/completions holds.
struct StreamChunk {
  bool has_choice = false;     // false for the usage chunk at the end
  std::string text;            // of the first choice
  std::string finish_reason;   // empty if not finished
  int num_prompt_tokens = -1;  // usage; -1 = absent
  int num_completion_tokens = -1;
};

class OpenAiStream {
 public:
  using OnChunk = std::function<bool(const StreamChunk&)>;

  // Feeds a piece of the body.  Returns false when on_chunk did, or on an error (see error()).
  bool feed(std::string_view bytes, const OnChunk& on_chunk);
  bool done() const { return done_; }                  // [DONE] was seen
  const std::string& error() const { return error_; }  // an error object in the stream, or not JSON

 private:
  bool take_event(std::string_view data, const OnChunk& on_chunk);

  SseParser parser_;
  bool done_ = false;
  std::string error_;
};

}  // namespace quire
