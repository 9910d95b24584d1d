#include "quire/llm.h"

#include <iterator>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "engine/llm_chat.h"
#include "engine/model_path.h"
#include "engine/requests_in_flight.h"
#include "engine/text_engine.h"

namespace quire {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kStopInterval{50};

// Asks the caller at most once per kStopInterval; once it has said yes, that stands.
class StopQuestion {
 public:
  explicit StopQuestion(const std::function<bool()>& should_stop) : should_stop_(should_stop) {}
  bool ask() {
    if (!should_stop_ || stopped_) return stopped_;
    const Clock::time_point now = Clock::now();
    if (now < next_) return false;
    next_ = now + kStopInterval;
    return stopped_ = should_stop_();
  }

 private:
  const std::function<bool()>& should_stop_;
  Clock::time_point next_ = Clock::now() + kStopInterval;
  bool stopped_ = false;
};

// The requests of one generate() call.
class Batch {
 public:
  explicit Batch(std::shared_ptr<TextEngine> engine)
      : engine_(std::move(engine)), in_flight_(engine_) {}

  std::vector<RequestOutput> run(std::vector<GenerationRequest> requests,
                                 const GenerateCallbacks& callbacks) {
    StopQuestion stop(callbacks.should_stop);
    std::vector<PreparedRequest> prepared;
    for (GenerationRequest& request : requests) {
      stop.ask();
      prepared.push_back(engine_->prepare(std::move(request)));
      const std::string& id = prepared.back().output.request_id;
      if (!places_.emplace(id, places_.size()).second) {
        throw std::invalid_argument("request_id " + id + " is given twice");
      }
    }
    outputs_.resize(prepared.size());
    for (PreparedRequest& request : prepared) in_flight_.add(std::move(request));
    while (in_flight_.num_unfinished() > 0) {
      if (stop.ask()) in_flight_.abort_all();
      for (RequestOutput& output : in_flight_.poll(kStopInterval)) {
        take(std::move(output), callbacks.on_finished);
      }
    }
    return std::move(outputs_);
  }

 private:
  void take(RequestOutput&& part,
            const std::function<void(size_t, const RequestOutput&)>& on_finished) {
    const size_t place = places_.at(part.request_id);
    RequestOutput& whole = outputs_[place];
    if (whole.request_id.empty()) {
      whole = std::move(part);
    } else {
      append_output(whole, std::move(part));
    }
    if (whole.finished && on_finished) on_finished(place, whole);
  }

  std::shared_ptr<TextEngine> engine_;
  RequestsInFlight in_flight_;
  std::unordered_map<std::string, size_t> places_;  // by request id
  std::vector<RequestOutput> outputs_;
};

}  // namespace

std::string find_model(const std::string& model) { return resolve_model_path(model); }

RequestStream::RequestStream(std::shared_ptr<TextEngine> engine)
    : requests_(std::make_unique<RequestsInFlight>(std::move(engine))) {}
RequestStream::RequestStream(RequestStream&&) noexcept = default;
RequestStream& RequestStream::operator=(RequestStream&&) noexcept = default;
RequestStream::~RequestStream() = default;

std::string RequestStream::add(GenerationRequest request) {
  return requests_->add(requests_->engine().prepare(std::move(request)));
}
std::optional<RequestOutput> RequestStream::next() { return requests_->next(); }
std::vector<RequestOutput> RequestStream::poll(milliseconds timeout) {
  return requests_->poll(timeout);
}
void RequestStream::abort(const std::string& request_id) { requests_->abort(request_id); }
void RequestStream::wake() { requests_->wake(); }
size_t RequestStream::num_unfinished() const { return requests_->num_unfinished(); }

LLM::LLM(const LLMOptions& options) : engine_(std::make_shared<TextEngine>(options)) {}
LLM::~LLM() = default;

std::vector<RequestOutput> LLM::generate(const std::vector<Prompt>& prompts,
                                         const SamplingParams& params) {
  std::vector<GenerationRequest> requests;
  for (const Prompt& prompt : prompts) requests.push_back({.prompt = prompt, .params = params});
  return generate(std::move(requests));
}

std::vector<RequestOutput> LLM::generate(std::vector<GenerationRequest> requests,
                                         const GenerateCallbacks& callbacks) {
  return Batch(engine_).run(std::move(requests), callbacks);
}

RequestOutput LLM::chat(const std::vector<ChatMessage>& messages, const SamplingParams& params) {
  std::vector<GenerationRequest> requests(1);
  requests[0].prompt = apply_chat_template({.messages = chat_messages_json(messages)});
  requests[0].params = params;
  requests[0].add_special_tokens = false;
  return std::move(generate(std::move(requests)).front());
}

RequestStream LLM::stream() { return RequestStream(engine_); }
RequestStream LLM::stream(GenerationRequest request) {
  RequestStream result(engine_);
  result.add(std::move(request));
  return result;
}

std::string LLM::apply_chat_template(const ChatPrompt& chat) const {
  return engine_->render_chat(chat);
}
std::vector<int32_t> LLM::encode(std::string_view text, bool add_special_tokens) const {
  return engine_->tokenizer().encode(text, add_special_tokens);
}
std::string LLM::decode(const std::vector<int32_t>& token_ids, bool skip_special_tokens) const {
  return engine_->tokenizer().decode(token_ids, skip_special_tokens);
}
std::string LLM::id_to_token(int32_t token_id) const {
  return engine_->tokenizer().id_to_token(token_id);
}
int32_t LLM::token_to_id(std::string_view token) const {
  return engine_->tokenizer().token_to_id(token);
}
int LLM::tokenizer_size() const { return engine_->tokenizer().vocab_size(); }

const ModelInfo& LLM::info() const { return engine_->info(); }
SamplingParams LLM::default_sampling_params() const {
  return engine_->client().info().default_params;
}
void LLM::reset_prefix_cache() { engine_->client().reset_prefix_cache(); }

}  // namespace quire
