// One API request in flight: its sequences in the engine, and what becomes of their results.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "engine/engine_client.h"
#include "engine/output_processor.h"
#include "quire/outputs.h"
#include "server/response_writer.h"

namespace quire {

struct ServerContext;

struct TokenUsage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompt tokens
};

// What one choice gained in one step.
struct ChoiceOutput {
  int prompt_index = 0;
  int choice_index = 0;  // prompt-major: prompt_index * n + i
  bool first = false;    // the first output of this choice
  CompletionOutput output;
  std::vector<PositionLogprobs> prompt_logprobs;  // with the first output, if asked for
  TokenUsage usage;                               // of this choice so far
};

// Turns outputs into the bytes of one API.
class ResponseFormatter {
 public:
  virtual ~ResponseFormatter() = default;
  virtual bool streams() const = 0;
  // What opens a stream.  Called once, before the first output.
  virtual std::string begin() = 0;
  // The bytes to stream now (maybe none); without streaming, keeps the output and returns nothing.
  virtual std::string output(ChoiceOutput&& output) = 0;
  // What ends a stream, or the whole body.
  virtual std::string finish(TokenUsage usage) = 0;
};

// Built by a worker, then owned by one exchange and touched by its I/O thread only.
// Knows no JSON and no sockets.
class Generation : public std::enable_shared_from_this<Generation> {
 public:
  // `lora_name` names the adapter of all prompts; empty = the base model.
  Generation(ServerContext& context, std::unique_ptr<ResponseFormatter> formatter,
             double arrival_time_s, std::string lora_name);
  // Aborts what is unfinished.
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // The sequences of one prompt.  Before start().
  void add_prompt(std::vector<EngineRequest> requests);
  // Hands the sequences to the engine; if it refuses one, answers with its error.
  void start(ResponseWriter writer);
  void deliver(size_t sequence, StepResult&& result);
  // Results were dropped, because too many waited for the I/O thread: ends with an error.
  void lose_results();

 private:
  struct Sequence;
  struct PromptProgress {
    size_t num_unfinished = 0;  // sequences
    int64_t longest = 0;        // tokens of the longest finished sequence
  };

  // Engine's refusal of any sequence, if there was one.
  Expected<void, RequestError> submit();
  // For the request log.
  std::string summary() const;
  RequestError failure_error(RowFailure failure) const;
  CompletionOutput take_output(Sequence& sequence, StepResult&& result);
  void finish_sequence(Sequence& sequence, FinishReason reason);
  void observe_times(Sequence& sequence, const StepResult& result);
  // A sequence no longer counts as one of the adapter's.
  void leave_adapter(Sequence& sequence);
  void begin_response();
  void finish();
  void fail(const RequestError& error);
  void cancel();
  void abort_unfinished();
  TokenUsage total_usage() const;

  ServerContext& context_;
  std::unique_ptr<ResponseFormatter> formatter_;
  const double arrival_time_s_;
  const std::string lora_name_;
  std::vector<std::unique_ptr<Sequence>> sequences_;
  std::vector<PromptProgress> prompts_;
  std::unique_ptr<ResponseWriter> writer_;  // set by start()
  size_t num_finished_ = 0;
  bool began_ = false;
  bool active_ = false;  // between start() and the answer's end
};

}  // namespace quire
