// vLLM's flags that quire does not have, and what to tell who uses them.
#pragma once

#include <span>
#include <string_view>

namespace quire {

// Several flags that are answered alike.
struct VllmFlag {
  // Dropped with a note where leaving the flag out changes nothing here; else the start ends.
  enum class Treatment { kRefused, kDropped, kDroppedWithValue };
  Treatment treatment;
  std::string_view names;  // "--quantization -q"
  const char* message;     // why, or what to use instead
};

// The row of `name` ("--quantization", "-tp", "--no-enable-eplb"), or null.
const VllmFlag* find_vllm_flag(std::string_view name);
std::span<const VllmFlag> vllm_flags();

}  // namespace quire
