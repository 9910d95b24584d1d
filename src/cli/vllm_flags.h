// vLLM's flags that quire does not have, and what to tell who uses them.
#pragma once

#include <span>
#include <string_view>

namespace quire {

struct VllmFlag {
  const char* name;
  bool takes_value;
  bool ignored;         // accepted, because leaving it out changes nothing here; else refused
  const char* message;  // why, or what to use instead
};

// The row of `name` ("--quantization", "-tp", "--no-enable-lora"), or null.
const VllmFlag* find_vllm_flag(std::string_view name);
std::span<const VllmFlag> vllm_flags();

}  // namespace quire
