// Changes to the logits of one row before it is sampled.  To add one: a function and a row in the
// table.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/request_rows.h"

namespace quire {

// The same changes as lists, for a backend with adjust_logits: see AdjustLogitsArgs.
struct LogitAdjustments {
  std::vector<int32_t> allowed;
  std::vector<int32_t> masked;
  std::vector<std::pair<int32_t, float>> biased;
  std::vector<std::pair<int32_t, float>> penalized;
};

struct LogitsProcessor {
  const char* name;
  // Whether the row's next token needs it.
  bool (*applies)(const RequestRow& row);
  // logits: [vocab] f32, in place.
  void (*apply)(const RequestRow& row, std::span<float> logits);
  // Adds the same change to the row's lists.
  void (*collect)(const RequestRow& row, LogitAdjustments& adjustments);
};

// In the order in which they run.
std::span<const LogitsProcessor> logits_processors();

}  // namespace quire
