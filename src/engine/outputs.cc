#include "quire/outputs.h"

#include "base/check.h"

namespace quire {

const char* to_string(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
      return "abort";
    case FinishReason::kRepetition:
      return "repetition";
    case FinishReason::kError:
      return "error";
  }
  check_failed(__FILE__, __LINE__, "reason", "unknown FinishReason");
}

}  // namespace quire
