// Which LoRA adapter a request is computed with.  Field names follow vLLM's LoRARequest.
#pragma once

#include <cstdint>
#include <string>

namespace quire {

struct LoRARequest {
  std::string lora_name;    // names the adapter among all requests; required
  int64_t lora_int_id = 0;  // the caller's own number; the engine goes by the name
  std::string lora_path;    // a PEFT directory; required when the name is used for the first time
};

}  // namespace quire
