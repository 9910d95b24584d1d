// Prompts through an engine, and their outputs back on the caller's thread: what is under
// RequestStream and LLM::generate.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/output_processor.h"
#include "engine/text_engine.h"

namespace quire {

// Appends what is new of a request to what was there before.
void append_output(RequestOutput& whole, RequestOutput&& part);

// Threads: poll and next from one at a time, the others from any.
class RequestsInFlight {
 public:
  explicit RequestsInFlight(std::shared_ptr<TextEngine> engine);
  ~RequestsInFlight();  // aborts what is unfinished
  RequestsInFlight(const RequestsInFlight&) = delete;
  RequestsInFlight& operator=(const RequestsInFlight&) = delete;

  TextEngine& engine() { return *engine_; }

  // See RequestStream.
  std::string add(PreparedRequest request);
  std::optional<RequestOutput> next();
  std::vector<RequestOutput> poll(std::chrono::milliseconds timeout);
  void abort(const std::string& request_id);
  void abort_all();
  void wake();
  size_t num_unfinished() const;

 private:
  struct Inbox;
  struct Entry {
    RequestOutput output;                 // what has not been handed out
    std::vector<RequestId> sequence_ids;  // by completion index
    size_t num_unfinished = 0;
    bool has_given_tokens = false;
    bool is_ready = false;  // among ready_
  };
  struct Sequence {
    Entry* entry = nullptr;
    OutputProcessor processor;
  };

  void submit(Entry& entry, std::vector<EngineRequest> requests);
  void take(StepResult&& result);
  void end_sequence(Entry& entry, RequestId id);
  void abort_entry(Entry& entry);
  void set_ready(Entry& entry);
  std::vector<RequestOutput> hand_out();

  const std::shared_ptr<TextEngine> engine_;
  const std::shared_ptr<Inbox> inbox_;  // shared with sinks, which may outlive this object

  mutable std::mutex mutex_;  // guards everything below but next_outputs_
  std::unordered_map<std::string, std::unique_ptr<Entry>> entries_;  // by request id
  std::unordered_map<RequestId, Sequence> sequences_;                // unfinished
  std::vector<Entry*> ready_;                                        // in the order they became so

  std::deque<RequestOutput> next_outputs_;  // polled and not yet returned by next()
};

}  // namespace quire
