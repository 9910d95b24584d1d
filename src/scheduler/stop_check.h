// When a request has generated enough.  Stop strings are not looked for here: the consumer finds
// them in the text and aborts.
#pragma once

#include <optional>
#include <span>

#include "quire/outputs.h"
#include "quire/sampling_params.h"
#include "scheduler/request.h"

namespace quire {

struct Stop {
  FinishReason finish_reason = FinishReason::kStop;
  StopReason stop_reason;
};

// Whether the last known token ends the request.  Requires: at least one output token.
std::optional<Stop> check_stop(const Request& request);

// Whether the tail is some pattern of min_pattern_size to max_pattern_size tokens, min_count times.
bool ends_in_repetition(std::span<const int32_t> output_token_ids,
                        const RepetitionDetection& detection);

}  // namespace quire
