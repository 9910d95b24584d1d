#include "server/fake_engine.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "server/byte_tokenizer.h"

namespace quire {
namespace {

constexpr std::array<const char*, 12> kWords = {
    " the",  " quiet", " river", " caf\xc3\xa9",      " 42",     " \xe6\xbc\xa2\xe5\xad\x97",
    " runs", ".",      ",\n",    " \xf0\x9f\x98\x80", " \"so\"", " under"};

uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15U;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
  return x ^ (x >> 31);
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The token itself is the most likely one.
TokenLogprobs logprobs_of(int32_t token, int num_top) {
  TokenLogprobs position{
      .token_id = token, .logprob = -0.25F, .rank = 1, .top_ids = {}, .top_logprobs = {}};
  for (int i = 0; i < num_top; ++i) {
    position.top_ids.push_back((token + i) % ByteTokenizer::kBos);
    position.top_logprobs.push_back(-0.25F - static_cast<float>(i));
  }
  return position;
}

}  // namespace

struct FakeEngine::Sequence {
  EngineRequest request;
  StepSink sink;
  uint64_t state = 0;
  std::string word = {};
  size_t word_index = 0;
  int num_tokens = 0;
  bool finished = false;
  double scheduled_time_s = 0.0;
  double first_token_time_s = 0.0;
};

FakeEngine::FakeEngine(const FakeEngineOptions& options) : options_(options) {
  info_.model_path = "fake";
  info_.architecture = "FakeForCausalLM";
  info_.dtype = "float32";
  info_.max_model_len = options.max_model_len;
  info_.vocab_size = ByteTokenizer().vocab_size();
  info_.block_size = 16;
  info_.num_blocks = 1000;
  info_.max_num_seqs = options.max_num_seqs;
  info_.eos_token_ids = {ByteTokenizer::kEos};
  stats_.scheduler.num_blocks = 1000;
  stats_.scheduler.num_free_blocks = 1000;
  if (options.enable_lora) {
    info_.max_loras = options.max_num_seqs;
    adapters_ = std::make_unique<AdapterRegistry>(
        AdapterRegistryConfig{.shape = {.targets = lora_targets(), .block_bytes = 4096},
                              .num_usable_blocks = 1000,
                              .max_cpu_loras = options.max_cpu_loras,
                              .lora_dir = options.lora_dir});
  }
  thread_ = std::thread([this] { run(); });
}

std::vector<LoraTarget> FakeEngine::lora_targets() {
  return {{.name = "model.layers.0.self_attn.q_proj", .in_features = 16, .out_features = 16}};
}

FakeEngine::~FakeEngine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Expected<void, RequestError> FakeEngine::add(EngineRequest request, StepSink sink) {
  const std::lock_guard lock(mutex_);
  if (!stats_.healthy) {
    return Unexpected{RequestError{.http_status = 503,
                                   .type = "server_error",
                                   .code = "engine_failed",
                                   .param = {},
                                   .message = stats_.failure}};
  }
  if (stats_.num_in_flight_requests >= options_.max_queue_len) {
    return Unexpected{RequestError{.http_status = 429,
                                   .type = "rate_limit_error",
                                   .code = "queue_full",
                                   .param = {},
                                   .message = "The queue is full."}};
  }
  ++stats_.num_in_flight_requests;
  stats_.prompt_tokens += static_cast<int64_t>(request.prompt_token_ids.size());
  auto sequence =
      std::make_shared<Sequence>(Sequence{.request = std::move(request), .sink = std::move(sink)});
  const EngineRequest& added = sequence->request;
  uint64_t state = added.params->temperature < 1e-5F ? 0 : added.seed + 1;
  for (const int32_t id : added.prompt_token_ids) state = mix(state ^ static_cast<uint64_t>(id));
  if (added.adapter) state = mix(state ^ added.adapter->content.low);
  sequence->state = state;
  waiting_.push_back(std::move(sequence));
  changed_.notify_all();
  return {};
}

void FakeEngine::abort(RequestId id) {
  const std::lock_guard lock(mutex_);
  aborted_.insert(id);
  ++num_aborts_;
  changed_.notify_all();
}

EngineStats FakeEngine::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void FakeEngine::set_paused(bool paused) {
  const std::lock_guard lock(mutex_);
  paused_ = paused;
  changed_.notify_all();
}

void FakeEngine::fail() {
  const std::lock_guard lock(mutex_);
  stats_.healthy = false;
  stats_.failure = "the test said so";
}

void FakeEngine::run() {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      const auto has_work = [&] {
        return stopping_ || !aborted_.empty() ||
               (!paused_ && (!running_.empty() || !waiting_.empty()));
      };
      changed_.wait(lock, has_work);
      if (stopping_) return;
      const auto is_aborted = [&](const auto& sequence) {
        return aborted_.contains(sequence->request.id);
      };
      stats_.num_in_flight_requests -= static_cast<int>(std::erase_if(waiting_, is_aborted));
      stats_.num_in_flight_requests -= static_cast<int>(std::erase_if(running_, is_aborted));
      aborted_.clear();
      while (!paused_ && !waiting_.empty() &&
             std::cmp_less(running_.size(), options_.max_num_seqs)) {
        waiting_.front()->scheduled_time_s = now_s();
        running_.push_back(std::move(waiting_.front()));
        waiting_.erase(waiting_.begin());
      }
      stats_.scheduler.num_running = static_cast<int>(running_.size());
      stats_.scheduler.num_waiting = static_cast<int>(waiting_.size());
      if (paused_) continue;
    }
    if (running_.empty()) continue;
    std::this_thread::sleep_for(options_.step_time);
    for (const auto& sequence : running_) step(*sequence);
    const std::lock_guard lock(mutex_);
    ++stats_.num_steps;
    stats_.generation_tokens += static_cast<int64_t>(running_.size()) * options_.tokens_per_step;
    stats_.num_in_flight_requests -= static_cast<int>(
        std::erase_if(running_, [](const auto& sequence) { return sequence->finished; }));
    stats_.scheduler.num_running = static_cast<int>(running_.size());
  }
}

int32_t FakeEngine::next_token(Sequence& sequence) {
  if (sequence.word_index == sequence.word.size()) {
    sequence.state = mix(sequence.state);
    const EngineRequest& request = sequence.request;
    const bool may_end =
        !request.params->ignore_eos && sequence.num_tokens >= request.params->min_tokens;
    if (may_end && sequence.num_tokens > 0 && sequence.state % 8 == 0) return ByteTokenizer::kEos;
    sequence.word = kWords[(sequence.state >> 8) % kWords.size()];
    sequence.word_index = 0;
  }
  return static_cast<unsigned char>(sequence.word[sequence.word_index++]);
}

StepResult FakeEngine::first_result(const Sequence& sequence) {
  StepResult result;
  const EngineRequest& request = sequence.request;
  if (request.params->prompt_logprobs) {
    for (size_t i = 1; i < request.prompt_token_ids.size(); ++i) {
      result.prompt_logprobs.push_back(
          logprobs_of(request.prompt_token_ids[i], *request.params->prompt_logprobs));
    }
  }
  return result;
}

void FakeEngine::step(Sequence& sequence) {
  const EngineRequest& request = sequence.request;
  const SamplingParams& params = *request.params;
  StepResult result = sequence.num_tokens == 0 ? first_result(sequence) : StepResult();
  result.id = request.id;
  for (int i = 0; i < options_.tokens_per_step && !result.finish_reason; ++i) {
    const int32_t token = next_token(sequence);
    ++sequence.num_tokens;
    result.new_token_ids.push_back(token);
    if (params.logprobs) result.logprobs.push_back(logprobs_of(token, *params.logprobs));
    if (token == ByteTokenizer::kEos) {
      result.finish_reason = FinishReason::kStop;
    } else if (std::ranges::count(params.stop_token_ids, token) > 0 &&
               sequence.num_tokens > params.min_tokens) {
      result.finish_reason = FinishReason::kStop;
      result.stop_reason = token;
    } else if (sequence.num_tokens >= request.max_tokens) {
      result.finish_reason = FinishReason::kLength;
    } else if (sequence.num_tokens == options_.fail_after_tokens) {
      result.finish_reason = FinishReason::kError;
      result.failure = options_.failure;
    }
  }
  if (sequence.first_token_time_s == 0.0) sequence.first_token_time_s = now_s();
  result.scheduled_time_s = sequence.scheduled_time_s;
  result.first_token_time_s = sequence.first_token_time_s;
  sequence.finished = result.finish_reason.has_value();
  sequence.sink(std::move(result));
}

}  // namespace quire
