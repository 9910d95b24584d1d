#include "quire/llm.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <iterator>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "base/check.h"
#include "engine/engine.h"
#include "engine/input_processor.h"
#include "engine/model_path.h"
#include "engine/output_processor.h"
#include "text/tokenizer.h"

namespace quire {
namespace {

EngineConfig engine_config_of(const LLMOptions& options) {
  EngineConfig config;
  config.model = options.model;
  config.tokenizer = options.tokenizer;
  config.dtype = options.dtype;
  config.load_format = options.load_format;
  config.max_model_len = options.max_model_len;
  config.max_num_seqs = options.max_num_seqs;
  config.max_num_batched_tokens = options.max_num_batched_tokens;
  config.kv_cache_memory_bytes = options.kv_cache_memory_bytes;
  config.enable_prefix_caching = options.enable_prefix_caching;
  config.seed = options.seed;
  config.device = options.device;
  config.gpu_memory_utilization = options.gpu_memory_utilization;
  config.cpu_isa = options.cpu_isa;
  config.num_threads = options.num_threads;
  config.max_queue_len = std::numeric_limits<int>::max();  // the caller holds all prompts already
  return config;
}

// Step results on their way from the engine thread to the caller of generate().
class ResultQueue {
 public:
  struct Item {
    size_t sequence = 0;
    StepResult result;
  };
  void push(Item item) {
    {
      const std::lock_guard lock(mutex_);
      items_.push_back(std::move(item));
    }
    pushed_.notify_one();
  }
  Item pop() {
    std::unique_lock lock(mutex_);
    pushed_.wait(lock, [&] { return !items_.empty(); });
    Item item = std::move(items_.front());
    items_.pop_front();
    return item;
  }

 private:
  std::mutex mutex_;  // guards everything below
  std::condition_variable pushed_;
  std::deque<Item> items_;
};

// One completion of one prompt.
struct Sequence {
  size_t prompt = 0;
  RequestId id = 0;
  OutputProcessor processor;
  CompletionOutput output;  // so far
};

void append(CompletionOutput& whole, CompletionOutput&& part) {
  whole.index = part.index;
  whole.text += part.text;
  whole.token_ids.insert(whole.token_ids.end(), part.token_ids.begin(), part.token_ids.end());
  std::ranges::move(part.logprobs, std::back_inserter(whole.logprobs));
  whole.cumulative_logprob = part.cumulative_logprob;
  whole.finish_reason = part.finish_reason;
  whole.stop_reason = std::move(part.stop_reason);
}

// The prompts of one generate() call, from engine requests to outputs.
class Batch {
 public:
  Batch(EngineClient& engine, const Tokenizer* tokenizer)
      : engine_(engine), tokenizer_(tokenizer) {}
  // Aborts what has not finished: a result may have failed, or the caller's callback thrown.
  ~Batch() {
    for (const Sequence& sequence : sequences_) {
      if (!sequence.processor.finished()) engine_.abort(sequence.id);
    }
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  void add_prompt(RequestOutput output, std::vector<EngineRequest> requests);
  std::vector<RequestOutput> run(
      const std::function<void(size_t, const RequestOutput&)>& on_finished);

 private:
  void submit();
  void take(ResultQueue::Item item);

  EngineClient& engine_;
  const Tokenizer* tokenizer_;
  std::shared_ptr<ResultQueue> queue_ = std::make_shared<ResultQueue>();
  std::vector<EngineRequest> requests_;  // of sequences_, until submitted
  std::vector<Sequence> sequences_;
  std::vector<RequestOutput> outputs_;
  std::vector<size_t> num_unfinished_;  // sequences per prompt
};

void Batch::add_prompt(RequestOutput output, std::vector<EngineRequest> requests) {
  const size_t prompt = outputs_.size();
  int index = 0;
  for (EngineRequest& request : requests) {
    sequences_.push_back({.prompt = prompt,
                          .id = request.id,
                          .processor = OutputProcessor(tokenizer_, request.params,
                                                       request.prompt_token_ids, index++),
                          .output = {}});
    requests_.push_back(std::move(request));
  }
  num_unfinished_.push_back(requests.size());
  output.outputs.resize(requests.size());
  outputs_.push_back(std::move(output));
}

void Batch::submit() {
  for (size_t i = 0; i < requests_.size(); ++i) {
    StepSink sink = [queue = queue_, i](StepResult&& result) {
      queue->push({i, std::move(result)});
    };
    const auto added = engine_.add(std::move(requests_[i]), std::move(sink));
    if (!added) throw std::runtime_error(added.error().message);
  }
  requests_.clear();
}

void Batch::take(ResultQueue::Item item) {
  Sequence& sequence = sequences_[item.sequence];
  if (sequence.processor.finished()) return;  // ended by a stop string before the abort took effect
  const bool engine_finished = item.result.finish_reason.has_value();
  const bool engine_failed =
      item.result.finish_reason == FinishReason::kError && item.result.failure == RowFailure::kNone;
  if (engine_failed) {
    throw std::runtime_error("the engine failed: " + engine_.stats().failure);
  }
  RequestOutput& output = outputs_[sequence.prompt];
  output.num_cached_tokens = std::max(output.num_cached_tokens, item.result.num_cached_tokens);
  append(sequence.output, sequence.processor.process(std::move(item.result)));
  if (!sequence.processor.finished()) return;
  if (!engine_finished) engine_.abort(sequence.id);
  if (sequence.output.index == 0)
    output.prompt_logprobs = sequence.processor.take_prompt_logprobs();
  output.outputs[static_cast<size_t>(sequence.output.index)] = std::move(sequence.output);
  output.finished = --num_unfinished_[sequence.prompt] == 0;
}

std::vector<RequestOutput> Batch::run(
    const std::function<void(size_t, const RequestOutput&)>& on_finished) {
  submit();
  for (size_t num_finished = 0; num_finished < outputs_.size();) {
    ResultQueue::Item item = queue_->pop();
    const size_t prompt = sequences_[item.sequence].prompt;
    if (outputs_[prompt].finished) continue;
    take(std::move(item));
    if (!outputs_[prompt].finished) continue;
    ++num_finished;
    if (on_finished) on_finished(prompt, outputs_[prompt]);
  }
  return std::move(outputs_);
}

}  // namespace

class LLM::State {
 public:
  explicit State(const LLMOptions& options)
      : tokenizer(load_tokenizer(
            resolve_model_path(options.tokenizer.empty() ? options.model : options.tokenizer))),
        engine(start_engine(engine_config_of(options))),
        input_processor(*engine, tokenizer.get(),
                        {.max_logprobs = -1,
                         .max_stop_strings = std::numeric_limits<int>::max(),
                         .max_stop_string_bytes = std::numeric_limits<int>::max(),
                         .max_bad_words = std::numeric_limits<int>::max(),
                         .max_n = std::numeric_limits<int>::max(),
                         .max_logit_bias_entries = std::numeric_limits<int>::max()}) {}

  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<EngineClient> engine;
  InputProcessor input_processor;  // the caller limits itself
  uint64_t num_requests = 0;
};

LLM::LLM(const LLMOptions& options) : state_(std::make_unique<State>(options)) {}
LLM::~LLM() = default;

std::vector<RequestOutput> LLM::generate(const std::vector<Prompt>& prompts,
                                         const SamplingParams& params) {
  return generate(prompts, std::vector<SamplingParams>(prompts.size(), params), nullptr);
}

std::vector<RequestOutput> LLM::generate(
    const std::vector<Prompt>& prompts, const std::vector<SamplingParams>& params,
    const std::function<void(size_t, const RequestOutput&)>& on_finished) {
  if (prompts.size() != params.size()) {
    throw std::invalid_argument("generate() needs one SamplingParams per prompt");
  }
  Batch batch(*state_->engine, state_->tokenizer.get());
  for (size_t i = 0; i < prompts.size(); ++i) {
    RequestOutput output;
    output.request_id = std::to_string(state_->num_requests++);
    if (const auto* text = std::get_if<std::string>(&prompts[i])) {
      output.prompt = *text;
      output.prompt_token_ids = state_->tokenizer->encode(*text, true);
    } else {
      output.prompt_token_ids = std::get<std::vector<int32_t>>(prompts[i]);
    }
    auto requests = state_->input_processor.process({.token_ids = output.prompt_token_ids,
                                                     .params = params[i],
                                                     .priority = 0,
                                                     .cache_salt = {}});
    if (!requests) throw std::invalid_argument(requests.error().message);
    batch.add_prompt(std::move(output), std::move(requests).value());
  }
  return batch.run(on_finished);
}

}  // namespace quire
