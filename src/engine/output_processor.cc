#include "engine/output_processor.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "engine/stop_matcher.h"

namespace quire {
namespace {

// Prompt ids that decide how the first generated token is joined to the text.
constexpr size_t kPromptTail = 8;

std::vector<int32_t> tail_of(const std::vector<int32_t>& ids) {
  return {ids.end() - static_cast<int64_t>(std::min(ids.size(), kPromptTail)), ids.end()};
}

}  // namespace

struct OutputProcessor::State {
  State(const Tokenizer* tokenizer_in, std::shared_ptr<const SamplingParams> params_in,
        const std::vector<int32_t>& prompt_token_ids, int index_in)
      : tokenizer(tokenizer_in),
        params(std::move(params_in)),
        index(index_in),
        matcher(params->stop) {
    if (tokenizer != nullptr && params->detokenize) {
      detokenizer.emplace(*tokenizer, tail_of(prompt_token_ids), params->skip_special_tokens,
                          params->spaces_between_special_tokens);
    }
  }

  PositionLogprobs with_bytes(const TokenLogprobs& position) const;
  // Adds text to the output as far as it cannot begin a stop string; true if a stop string ended in
  // it.
  bool append_text(const std::string& piece, bool ignore_stop, CompletionOutput& output);

  const Tokenizer* tokenizer;
  std::shared_ptr<const SamplingParams> params;
  int index;
  StopMatcher matcher;
  std::optional<Detokenizer> detokenizer;
  std::string held;  // final text not handed out yet
  double cumulative_logprob = 0.0;
  std::vector<PositionLogprobs> prompt_logprobs;
};

PositionLogprobs OutputProcessor::State::with_bytes(const TokenLogprobs& position) const {
  const auto bytes = [&](int32_t id) {
    return tokenizer == nullptr ? std::string() : tokenizer->token_bytes(id);
  };
  PositionLogprobs result;
  result.reserve(position.top_ids.size() + 1);
  result.push_back({position.token_id, position.logprob, position.rank, bytes(position.token_id)});
  for (size_t i = 0; i < position.top_ids.size(); ++i) {
    const int32_t id = position.top_ids[i];
    result.push_back({id, position.top_logprobs[i], static_cast<int>(i) + 1, bytes(id)});
  }
  return result;
}

bool OutputProcessor::State::append_text(const std::string& piece, bool ignore_stop,
                                         CompletionOutput& output) {
  StopMatcher::Match match;
  if (matcher.push(piece, ignore_stop, match)) {
    const std::string& stop = params->stop[match.stop_index];
    held.append(piece, 0, match.end);
    if (!params->include_stop_str_in_output) held.resize(held.size() - stop.size());
    output.text += std::exchange(held, {});
    output.finish_reason = FinishReason::kStop;
    output.stop_reason = stop;
    return true;
  }
  held += piece;
  const size_t num_ready = held.size() - matcher.num_held_bytes();
  output.text.append(held, 0, num_ready);
  held.erase(0, num_ready);
  return false;
}

OutputProcessor::OutputProcessor(const Tokenizer* tokenizer,
                                 std::shared_ptr<const SamplingParams> params,
                                 const std::vector<int32_t>& prompt_token_ids, int index)
    : state_(std::make_shared<State>(tokenizer, std::move(params), prompt_token_ids, index)) {}

CompletionOutput OutputProcessor::process(StepResult&& result) {
  CHECK(!finished_, "a result after the last one");
  State& state = *state_;
  const SamplingParams& params = *state.params;
  for (const TokenLogprobs& position : result.prompt_logprobs) {
    state.prompt_logprobs.push_back(state.with_bytes(position));
  }
  CompletionOutput output;
  output.index = state.index;
  output.finish_reason = result.finish_reason;
  output.stop_reason = std::move(result.stop_reason);
  // The token that stopped the request is in the output's ids, but not in its text.
  const bool hide_last =
      result.finish_reason == FinishReason::kStop && !params.include_stop_str_in_output;
  bool stopped = false;
  for (size_t i = 0; i < result.new_token_ids.size() && !stopped; ++i) {
    output.token_ids.push_back(result.new_token_ids[i]);
    ++num_output_tokens_;
    if (i < result.logprobs.size()) {
      state.cumulative_logprob += static_cast<double>(result.logprobs[i].logprob);
      output.logprobs.push_back(state.with_bytes(result.logprobs[i]));
    }
    const bool hidden = hide_last && i + 1 == result.new_token_ids.size();
    if (!state.detokenizer || hidden) continue;
    stopped = state.append_text(state.detokenizer->push(result.new_token_ids[i]),
                                num_output_tokens_ <= params.min_tokens, output);
  }
  if (output.finish_reason && !stopped && state.detokenizer) {
    stopped = state.append_text(state.detokenizer->finish(),
                                num_output_tokens_ <= params.min_tokens, output);
    if (!stopped) output.text += std::exchange(state.held, {});
  }
  output.cumulative_logprob = state.cumulative_logprob;
  finished_ = output.finish_reason.has_value();
  return output;
}

std::vector<PositionLogprobs> OutputProcessor::take_prompt_logprobs() {
  std::vector<PositionLogprobs> result;
  if (!state_->params->prompt_logprobs) return result;
  result.emplace_back();
  std::ranges::move(state_->prompt_logprobs, std::back_inserter(result));
  state_->prompt_logprobs.clear();
  return result;
}

}  // namespace quire
