#include "cli/request_pool.h"

#include <condition_variable>
#include <mutex>
#include <utility>

namespace quire {

// Filled on the engine's thread, emptied on the owner's.
struct RequestPool::Inbox {
  std::mutex mutex;
  std::condition_variable arrived;
  std::vector<StepResult> results;
};

RequestPool::RequestPool(EngineClient& engine, const Tokenizer* tokenizer,
                         const SamplingLimits& limits)
    : engine_(engine),
      tokenizer_(tokenizer),
      input_processor_(engine, tokenizer, limits),
      inbox_(std::make_shared<Inbox>()) {}

RequestPool::~RequestPool() {
  for (const auto& [id, sequence] : sequences_) {
    engine_.abort(id);
  }
}

Expected<RequestPool::Ticket, RequestError> RequestPool::submit(PromptInput input) {
  const Ticket ticket = next_ticket_++;
  Prompt prompt;
  prompt.num_prompt_tokens = static_cast<int>(input.token_ids.size());
  std::vector<EngineRequest> requests = QUIRE_TRY(input_processor_.process(std::move(input)));
  prompt.num_unfinished = static_cast<int>(requests.size());
  prompts_.emplace(ticket, prompt);
  int index = 0;
  for (EngineRequest& request : requests) {
    const RequestId id = request.id;
    sequences_[id] = {ticket, std::make_unique<OutputProcessor>(tokenizer_, request.params,
                                                                request.prompt_token_ids, index++)};
    auto added = engine_.add(std::move(request), [inbox = inbox_](StepResult&& result) {
      const std::lock_guard lock(inbox->mutex);
      inbox->results.push_back(std::move(result));
      inbox->arrived.notify_one();
    });
    if (!added) {
      cancel(ticket);
      return Unexpected{std::move(added.error())};
    }
  }
  return ticket;
}

std::vector<RequestPool::Event> RequestPool::wait(std::chrono::milliseconds timeout) {
  std::vector<StepResult> results;
  {
    std::unique_lock lock(inbox_->mutex);
    inbox_->arrived.wait_for(lock, timeout, [&] { return !inbox_->results.empty(); });
    results.swap(inbox_->results);
  }
  std::vector<Event> events;
  for (StepResult& result : results) {
    take(std::move(result), events);
  }
  return events;
}

void RequestPool::take(StepResult&& result, std::vector<Event>& events) {
  const RequestId id = result.id;
  const auto sequence = sequences_.find(id);
  if (sequence == sequences_.end()) {
    return;  // cancelled, or ended by a stop string
  }
  const auto prompt = prompts_.find(sequence->second.ticket);
  prompt->second.num_cached_tokens =
      std::max(prompt->second.num_cached_tokens, result.num_cached_tokens);
  const bool engine_finished = result.finish_reason.has_value();
  Event event;
  event.ticket = sequence->second.ticket;
  event.output = sequence->second.processor->process(std::move(result));
  event.num_prompt_tokens = prompt->second.num_prompt_tokens;
  event.num_cached_tokens = prompt->second.num_cached_tokens;
  if (event.output.finish_reason) {
    if (!engine_finished) {
      engine_.abort(id);  // a stop string, which the engine does not see
    }
    sequences_.erase(sequence);
    if (--prompt->second.num_unfinished == 0) {
      event.finished = true;
      prompts_.erase(prompt);
    }
  }
  events.push_back(std::move(event));
}

void RequestPool::cancel(Ticket ticket) {
  for (auto sequence = sequences_.begin(); sequence != sequences_.end();) {
    if (sequence->second.ticket == ticket) {
      engine_.abort(sequence->first);
      sequence = sequences_.erase(sequence);
    } else {
      ++sequence;
    }
  }
  prompts_.erase(ticket);
}

}  // namespace quire
