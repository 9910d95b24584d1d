// Prompts through an engine, outputs back on the caller's thread: the little machine under chat,
// complete, generate and bench.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/expected.h"
#include "engine/engine_client.h"
#include "engine/input_processor.h"
#include "engine/output_processor.h"

namespace quire {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// Thread: one owner; only the sinks run on the engine's thread.
class RequestPool {
 public:
  using Ticket = uint64_t;

  struct Event {
    Ticket ticket = 0;
    CompletionOutput output;  // what is new of completion output.index
    bool finished = false;    // the last completion of this prompt has ended
    int num_prompt_tokens = 0;
    int num_cached_tokens = 0;
  };

  // Both outlive this object; tokenizer may be null (token ids in and out).
  RequestPool(EngineClient& engine, const Tokenizer* tokenizer, const SamplingLimits& limits);
  ~RequestPool();  // aborts what is in flight
  RequestPool(const RequestPool&) = delete;
  RequestPool& operator=(const RequestPool&) = delete;

  // One prompt with params.n completions.  Nothing is in flight if it fails.
  Expected<Ticket, RequestError> submit(PromptInput input);
  // What arrived, waiting up to `timeout` for the first.
  std::vector<Event> wait(std::chrono::milliseconds timeout);
  // Ends a prompt; no event follows.
  void cancel(Ticket ticket);
  size_t num_prompts() const { return prompts_.size(); }
  size_t num_sequences() const { return sequences_.size(); }

 private:
  struct Inbox;
  struct Prompt {
    int num_unfinished = 0;
    int num_prompt_tokens = 0;
    int num_cached_tokens = 0;
  };
  struct Sequence {
    Ticket ticket = 0;
    std::unique_ptr<OutputProcessor> processor;
  };

  void take(StepResult&& result, std::vector<Event>& events);

  EngineClient& engine_;
  const Tokenizer* tokenizer_;
  InputProcessor input_processor_;
  std::shared_ptr<Inbox> inbox_;  // shared with sinks, which may outlive this object
  std::unordered_map<Ticket, Prompt> prompts_;
  std::unordered_map<RequestId, Sequence> sequences_;
  Ticket next_ticket_ = 1;
};

}  // namespace quire
