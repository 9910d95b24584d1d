#include "simulation/workload.h"

#include <algorithm>
#include <array>

#include "scheduler/stop_check.h"
#include "simulation/simulated_model.h"

namespace quire::simulation {
namespace {

constexpr size_t kMaxConversations = 6;
constexpr int kMaxAdapterNames = 6;
constexpr int kMaxAdapterBlocks = 12;

// Large enough to push prefixes out, and each other.
Adapters random_adapters(Random& random, const SchedulerConfig& config) {
  const int num_names = random.one_in(4) ? 0 : random.between(1, kMaxAdapterNames);
  const int max_blocks = static_cast<int>(config.num_blocks) / 6;
  return {num_names, std::clamp(max_blocks, 1, kMaxAdapterBlocks)};
}

KVCacheSpec random_spec(Random& random) {
  KVCacheSpec spec;
  spec.block_size = 1 << random.between(0, 3);
  switch (random.between(0, 3)) {
    case 0:
      spec.groups = {{.layer_indices = {0}, .sliding_window = 0}};
      break;
    case 1:
      spec.groups = {{.layer_indices = {0}, .sliding_window = random.between(1, 20)}};
      break;
    case 2:
      spec.groups = {{.layer_indices = {0}, .sliding_window = 0},
                     {.layer_indices = {1}, .sliding_window = random.between(1, 20)}};
      break;
    default:
      spec.groups = {{.layer_indices = {0}, .sliding_window = random.between(1, 8)},
                     {.layer_indices = {1}, .sliding_window = random.between(9, 20)},
                     {.layer_indices = {2}, .sliding_window = 0}};
  }
  return spec;
}

std::optional<Stop> naive_stop(const EngineRequest& request, std::span<const int32_t> output) {
  const SamplingParams& params = *request.params;
  const int num_tokens = static_cast<int>(output.size());
  const bool may_stop = num_tokens >= params.min_tokens;
  const auto is_last = [&](int32_t token_id) { return token_id == output.back(); };
  if (may_stop && std::ranges::any_of(request.eos_token_ids, is_last)) {
    return Stop{.finish_reason = FinishReason::kStop, .stop_reason = {}};
  }
  if (may_stop && std::ranges::any_of(params.stop_token_ids, is_last)) {
    return Stop{.finish_reason = FinishReason::kStop, .stop_reason = output.back()};
  }
  if (num_tokens == request.max_tokens) {
    return Stop{.finish_reason = FinishReason::kLength, .stop_reason = {}};
  }
  const RepetitionDetection& detection = params.repetition_detection;
  for (int size = detection.min_pattern_size; may_stop && size <= detection.max_pattern_size;
       ++size) {
    const int num_needed = size * detection.min_count;
    bool repeats = num_needed <= num_tokens;
    for (int i = 1; repeats && i <= num_needed; ++i) {
      repeats = output[num_tokens - i] == output[num_tokens - 1 - (i - 1) % size];
    }
    if (repeats) {
      return Stop{.finish_reason = FinishReason::kRepetition, .stop_reason = {}};
    }
  }
  return std::nullopt;
}

}  // namespace

SchedulerConfig random_config(Random& random) {
  SchedulerConfig config;
  config.kv_cache_spec = random_spec(random);
  config.max_num_seqs = random.between(1, 10);
  config.max_model_len = random.between(8, 64);
  config.enable_chunked_prefill = !random.one_in(4);
  config.max_num_batched_tokens = config.enable_chunked_prefill
                                      ? random.between(1, 48)
                                      : config.max_model_len + random.between(0, 32);
  config.long_prefill_token_threshold = random.one_in(2) ? 0 : random.between(1, 16);
  constexpr std::array kPolicies = {SchedulingPolicy::kFcfs, SchedulingPolicy::kPriority,
                                    SchedulingPolicy::kFair};
  config.policy = kPolicies[random.next() % kPolicies.size()];
  config.enable_prefix_caching = !random.one_in(8);
  config.async_scheduling = !random.one_in(3);
  config.max_loras = random.one_in(2) ? 0 : random.between(1, 3);
  config.max_preemptions = random.one_in(2) ? random.between(0, 2) : 8;
  config.cache_seed = random.next();
  config.forecast_output = random.one_in(2);
  const int64_t num_blocks_of_longest = num_blocks_for_request(
      config.kv_cache_spec, config.max_model_len, config.max_num_batched_tokens);
  config.num_blocks = 1 + num_blocks_of_longest * random.between(4, 16) / 4;
  return config;
}

Workload::Workload(const SchedulerConfig& config, uint64_t seed)
    : config_(config), random_(seed), adapters_(random_adapters(random_, config)) {}

std::vector<int32_t> Workload::random_prompt() {
  const int max_length = config_.max_model_len - 1;
  std::vector<int32_t> prompt;
  if (!conversations_.empty() && !random_.one_in(3)) {
    const auto& earlier = conversations_[random_.next() % conversations_.size()];
    const int num_shared = random_.between(0, static_cast<int>(earlier.size()));
    prompt.assign(earlier.begin(), earlier.begin() + num_shared);
  }
  const int num_new = random_.one_in(4) ? random_.between(0, max_length) : random_.between(0, 6);
  for (int i = 0; i < num_new; ++i) {
    prompt.push_back(random_.between(1, kVocabSize - 1));
  }
  if (prompt.empty()) {
    prompt.push_back(1);
  }
  prompt.resize(std::min(prompt.size(), static_cast<size_t>(max_length)));
  return prompt;
}

// None if it and the request would not fit the pool together, as the engine's door has it.
std::optional<RequestAdapter> Workload::random_adapter(const EngineRequest& request) {
  const int num_prompt_tokens = static_cast<int>(request.prompt_token_ids.size());
  std::optional<RequestAdapter> adapter = adapters_.draw(random_, num_prompt_tokens);
  const int64_t num_kv_blocks =
      num_blocks_for_request(config_.kv_cache_spec, num_prompt_tokens + request.max_tokens,
                             config_.max_num_batched_tokens);
  if (adapter && num_kv_blocks + adapter->extent.num_blocks + 1 > config_.num_blocks - 1) {
    return std::nullopt;
  }
  return adapter;
}

std::shared_ptr<const EngineRequest> Workload::next_request() {
  auto params = std::make_shared<SamplingParams>();
  auto request = std::make_shared<EngineRequest>();
  request->id = next_id_++;
  request->prompt_token_ids = random_prompt();
  request->max_tokens = random_.between(
      1, config_.max_model_len - static_cast<int>(request->prompt_token_ids.size()));
  if (random_.one_in(2)) {
    request->max_tokens = std::min(request->max_tokens, random_.between(1, 8));
  }
  request->adapter = random_adapter(*request);
  request->eos_token_ids = random_.one_in(3) ? std::vector<int32_t>{} : std::vector{kEosTokenId};
  request->priority = random_.between(0, 3);
  request->arrival_time_s = static_cast<double>(request->id);
  request->cache_salt =
      random_.one_in(3) ? std::string(1, static_cast<char>('a' + random_.between(0, 1))) : "";
  request->seed = random_.next() % 2;
  params->min_tokens = random_.one_in(2) ? 0 : random_.between(0, request->max_tokens);
  if (random_.one_in(4)) {
    params->stop_token_ids = {random_.between(1, kVocabSize - 1),
                              random_.between(1, kVocabSize - 1)};
  }
  if (random_.one_in(4)) {
    params->logprobs = 1;
  }
  if (random_.one_in(6)) {
    params->prompt_logprobs = 1;
  }
  if (random_.one_in(4)) {
    params->repetition_detection = {.max_pattern_size = random_.between(1, 3),
                                    .min_pattern_size = 1,
                                    .min_count = random_.between(2, 3)};
  }
  request->params = std::move(params);
  return request;
}

ExpectedOutput Workload::expected_output(const EngineRequest& request) {
  std::vector<int32_t> token_ids = request.prompt_token_ids;
  std::optional<Stop> stop;
  while (!stop.has_value()) {
    token_ids.push_back(next_token(config_.kv_cache_spec, request, token_ids));
    stop = naive_stop(request, std::span(token_ids).subspan(request.prompt_token_ids.size()));
  }
  ExpectedOutput expected;
  expected.token_ids.assign(
      token_ids.begin() + static_cast<std::ptrdiff_t>(request.prompt_token_ids.size()),
      token_ids.end());
  expected.finish_reason = stop->finish_reason;
  expected.stop_reason = stop->stop_reason;
  conversations_.push_back(std::move(token_ids));
  if (conversations_.size() > kMaxConversations) {
    conversations_.pop_front();
  }
  return expected;
}

}  // namespace quire::simulation
