// Changes to the logits of one row before it is sampled.  To add one: a function and a row in the
// table.
#pragma once

#include <cstdint>
#include <span>

#include "engine/request_rows.h"

namespace quire {

struct LogitsProcessor {
  const char* name;
  // Whether the row's next token needs it.
  bool (*applies)(const RequestRow& row);
  // logits: [vocab] f32, in place.
  void (*apply)(const RequestRow& row, std::span<float> logits);
};

// In the order in which they run.
std::span<const LogitsProcessor> logits_processors();

}  // namespace quire
