#include "cli/bench/lora_tenant.h"

#include <sys/prctl.h>

#include <algorithm>
#include <csignal>
#include <iostream>

#include "base/error.h"
#include "cli/bench/bench_engine.h"
#include "cli/bench/process_memory.h"
#include "cli/local_model.h"

namespace quire {
namespace {

using Json = nlohmann::json;

// Long enough for large products, short enough that attention takes little of the time.
constexpr int64_t kPromptTokens = 1024;

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

TenantSpec read_spec(const std::string& text) {
  const Json json = Json::parse(text);
  return {.lora_dir = json.at("lora_dir"),
          .adapters = json.at("adapters"),
          .kv_tokens = json.at("kv_tokens"),
          .kv_cache_bytes = json.at("kv_cache_bytes")};
}

// Prompts in whole blocks, of each adapter at least one.
std::vector<BenchPrompt> filling_prompts(const TenantSpec& spec, const EngineInfo& info,
                                         uint64_t seed) {
  const int64_t block = info.block_size;
  const int64_t num_adapters = std::ssize(spec.adapters);
  const int64_t total = std::max(round_up(spec.kv_tokens, block), num_adapters * block);
  const int64_t longest = std::min({kPromptTokens, round_up(total / num_adapters, block),
                                    (info.max_model_len - 1) / block * block});
  std::vector<BenchPrompt> prompts;
  for (int64_t left = total; left > 0; left -= longest) {
    const int length = static_cast<int>(std::min(left, longest));
    prompts.push_back(make_token_prompts({.num_prompts = 1,
                                          .random_input_len = length,
                                          .random_output_len = 1,
                                          .seed = seed + prompts.size()},
                                         info.vocab_size)[0]);
  }
  return prompts;
}

// Returns how many tokens the prompts had.
int64_t fill_cache(EngineClient& engine, const TenantSpec& spec, uint64_t seed) {
  if (spec.adapters.empty()) return 0;
  const std::vector<BenchPrompt> prompts = filling_prompts(spec, engine.info(), seed);
  EngineRunOptions options;
  int64_t num_tokens = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    options.adapters.push_back(spec.adapters[i % spec.adapters.size()]);
    num_tokens += prompts[i].num_prompt_tokens;
  }
  run_on_engine(engine, prompts, options);
  return num_tokens;
}

Json facts_of(EngineClient& engine) {
  const EngineInfo& info = engine.info();
  Json targets;
  for (const LoraTarget& target : engine.adapters()->config().shape.targets) {
    targets.push_back(
        Json::array({target.name, target.in_features, target.out_features, target.is_head}));
  }
  return {{"architecture", info.architecture},
          {"dtype", info.dtype},
          {"device", info.device},
          {"kernels", info.kernels},
          {"num_threads", info.num_threads},
          {"block_size", info.block_size},
          {"num_kv_cache_groups", info.num_kv_cache_groups},
          {"num_blocks", info.num_blocks},
          {"kv_cache_bytes", info.kv_cache_bytes},
          {"targets", targets}};
}

TenantMemory memory_of(EngineClient& engine, int64_t num_kv_tokens) {
  const EngineInfo& info = engine.info();
  const int64_t block_bytes = info.kv_cache_bytes / info.num_blocks;
  const DeviceMemory device = engine.device_memory();
  const ProcessMemory host = read_process_memory();
  return {{"weights", device.weights_bytes},
          {"arena", device.kv_cache_bytes},
          {"adapters", engine.stats().scheduler.num_adapter_blocks * block_bytes},
          {"kv", num_kv_tokens / info.block_size * info.num_kv_cache_groups * block_bytes},
          {"workspace", device.workspace_bytes},
          {"other", device.other_bytes},
          {"free", device.free_bytes},
          {"resident", host.resident},
          {"proportional", host.proportional},
          {"anonymous", host.anonymous},
          {"unshared", host.unshared},
          {"shared", host.shared}};
}

void say(const Json& json) { std::cout << json.dump() << std::endl; }

}  // namespace

int run_lora_tenant(const EngineFlags& given, const std::string& spec_text) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // not to go on for a benchmark that was broken off
  const TenantSpec spec = read_spec(spec_text);
  EngineFlags flags = given;
  flags.config.enable_prefix_caching = true;  // what prompts leave stays
  flags.config.max_model_len = 0;             // what the arena holds
  flags.config.lora_dir = spec.lora_dir;
  if (spec.kv_cache_bytes > 0) flags.config.kv_cache_memory_bytes = spec.kv_cache_bytes;
  const LocalModel model = load_local_model(flags, TokenizerUse::kOptional);
  const int64_t num_kv_tokens = fill_cache(*model.engine, spec, flags.config.seed);
  say(facts_of(*model.engine));
  for (std::string line; std::getline(std::cin, line);) {
    say(memory_of(*model.engine, num_kv_tokens));
  }
  return 0;
}

std::string to_line(const TenantSpec& spec) {
  return Json{{"lora_dir", spec.lora_dir},
              {"adapters", spec.adapters},
              {"kv_tokens", spec.kv_tokens},
              {"kv_cache_bytes", spec.kv_cache_bytes}}
      .dump();
}

TenantFacts read_tenant_facts(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (json.is_discarded()) throw LoadError("a process of the benchmark wrote: " + line);
  TenantFacts facts;
  EngineInfo& info = facts.info;
  json.at("architecture").get_to(info.architecture);
  json.at("dtype").get_to(info.dtype);
  json.at("device").get_to(info.device);
  json.at("kernels").get_to(info.kernels);
  json.at("num_threads").get_to(info.num_threads);
  json.at("block_size").get_to(info.block_size);
  json.at("num_kv_cache_groups").get_to(info.num_kv_cache_groups);
  json.at("num_blocks").get_to(info.num_blocks);
  json.at("kv_cache_bytes").get_to(info.kv_cache_bytes);
  for (const Json& target : json.at("targets")) {
    facts.targets.push_back({.name = target.at(0),
                             .in_features = target.at(1),
                             .out_features = target.at(2),
                             .is_head = target.at(3)});
  }
  return facts;
}

}  // namespace quire
