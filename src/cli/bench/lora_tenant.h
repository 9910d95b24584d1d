// One process of the memory cell of bench lora: loads the model, serves its adapters once, and says
// whose memory is whose.  It talks in lines of JSON: TenantFacts once the work is done; then for
// each line that it is sent, its bytes by owner at that time.  It ends when its input does.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/engine_flags.h"
#include "engine/adapter_registry.h"
#include "engine/engine_client.h"

namespace quire {

// The work of a tenant.
struct TenantSpec {
  std::string lora_dir = {};
  std::vector<std::string> adapters = {};  // names in lora_dir, that prompts use in turn
  int64_t kv_tokens = 0;       // that prompts leave in the KV cache; at least a block an adapter
  int64_t kv_cache_bytes = 0;  // of the arena; 0 = as the flags say
};

struct TenantFacts {
  EngineInfo info;                  // its device, sizes and types
  std::vector<LoraTarget> targets;  // without output_order
};

// Bytes.  Of the engine: weights, arena (all blocks), adapters and kv (of the arena: filled
// blocks), workspace, other and free (see DeviceMemory).  Of the process, in host memory (see
// ProcessMemory): resident, proportional, anonymous, unshared, shared.
using TenantMemory = std::map<std::string, int64_t>;

// The process itself, its flags being those of bench lora.  Throws LoadError.
int run_lora_tenant(const EngineFlags& flags, const std::string& spec);

std::string to_line(const TenantSpec& spec);
// Throws LoadError if the line is not what a tenant says first.
TenantFacts read_tenant_facts(const std::string& line);

}  // namespace quire
