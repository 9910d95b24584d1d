// Changes to the logits of one row before it is sampled.  To add one: a function and a row in the
// table.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/request_rows.h"

namespace quire {

// What is to happen to the logits of a row, list by list: see AdjustLogitsArgs.
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
  // Adds what it changes to the row's lists.
  void (*apply)(const RequestRow& row, LogitAdjustments& adjustments);
};

std::span<const LogitsProcessor> logits_processors();

}  // namespace quire
