#include "scheduler/stop_check.h"

#include <algorithm>

#include "base/check.h"

namespace quire {
namespace {

bool contains(const std::vector<int32_t>& token_ids, int32_t token_id) {
  return std::find(token_ids.begin(), token_ids.end(), token_id) != token_ids.end();
}

}  // namespace

std::optional<Stop> check_stop(const Request& request) {
  CHECK(request.num_output_tokens() > 0);
  const EngineRequest& engine_request = *request.engine_request;
  const SamplingParams& params = *engine_request.params;
  const int32_t token_id = request.token_ids.back();
  const bool may_stop = request.num_output_tokens() >= params.min_tokens;
  if (may_stop && !params.ignore_eos && contains(engine_request.eos_token_ids, token_id)) {
    return Stop{.finish_reason = FinishReason::kStop, .stop_reason = {}};
  }
  if (may_stop && contains(params.stop_token_ids, token_id)) {
    return Stop{.finish_reason = FinishReason::kStop, .stop_reason = token_id};
  }
  if (request.num_known_tokens() >= request.max_num_tokens) {
    return Stop{.finish_reason = FinishReason::kLength, .stop_reason = {}};
  }
  const std::span<const int32_t> output =
      std::span(request.token_ids).subspan(engine_request.prompt_token_ids.size());
  if (may_stop && ends_in_repetition(output, params.repetition_detection)) {
    return Stop{.finish_reason = FinishReason::kRepetition, .stop_reason = {}};
  }
  return std::nullopt;
}

bool ends_in_repetition(std::span<const int32_t> output_token_ids,
                        const RepetitionDetection& detection) {
  const int num_tokens = static_cast<int>(output_token_ids.size());
  for (int size = std::max(1, detection.min_pattern_size);
       size <= std::min(detection.max_pattern_size, num_tokens / detection.min_count); ++size) {
    // Equal to itself moved by one pattern: the tail repeats with period `size`.
    const int num_compared = size * (detection.min_count - 1);
    const auto tail = output_token_ids.last(num_compared);
    const auto moved = output_token_ids.subspan(num_tokens - num_compared - size, num_compared);
    if (std::equal(tail.begin(), tail.end(), moved.begin())) {
      return true;
    }
  }
  return false;
}

}  // namespace quire
