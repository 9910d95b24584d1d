#include "cli/engine_flags.h"

#include <fmt/format.h>

#include "base/error.h"
#include "cli/flags.h"
#include "cli/human_number.h"
#include "engine/engine.h"

namespace quire {
namespace {

void add_model_flags(CLI::App& app, EngineFlags& flags) {
  EngineConfig& config = flags.config;
  app.add_option("MODEL", config.model,
                 "Directory, hub id in the local cache (org/name[@revision]), or quire-demo")
      ->type_name("");
  app.option_defaults()->group("Model");
  app.add_option("--model", flags.model_flag, "The same as MODEL");
  app.add_option("--tokenizer", config.tokenizer, "Where tokenizer.json is, if not with the model")
      ->type_name("DIR");
  app.add_option(
         "--dtype", config.dtype,
         "Type of weights and KV cache; auto: the checkpoint's. half = float16, float = float32")
      ->check(CLI::IsMember({"auto", "float32", "float16", "bfloat16", "half", "float"}))
      ->type_name("TYPE");
  const auto set_max_model_len = [&config](const std::string& text) {
    const auto number = parse_human_int(text == "auto" ? "-1" : text);
    if (!number || *number == 0 || *number < -1 || *number > (1 << 30)) {
      throw CLI::ValidationError("--max-model-len",
                                 number ? text + " is out of range" : number.error());
    }
    config.max_model_len = *number < 0 ? 0 : static_cast<int>(*number);
  };
  app.add_option_function<std::string>("--max-model-len", set_max_model_len,
                                       "Longest prompt plus output, in tokens; accepts 4k, 32K. "
                                       "auto or -1: what the model and the "
                                       "KV cache allow")
      ->type_name("N")
      ->default_str("auto");
  app.add_option("--load-format", config.load_format,
                 "Where weights come from; dummy: random ones, for measurements")
      ->check(CLI::IsMember({"auto", "safetensors", "dummy"}))
      ->type_name("FORMAT");
  app.add_option("--seed", config.seed, "Seed of requests that bring none")->type_name("N");
  app.add_option("--chat-template", flags.chat_template,
                 "Jinja chat template: a file, or the template itself on one line")
      ->type_name("FILE|TEMPLATE");
  app.add_option("--generation-config", flags.generation_config,
                 "Sampling defaults; auto: generation_config.json of the model, vllm: neutral ones")
      ->check(CLI::IsMember({"auto", "vllm"}))
      ->type_name("auto|vllm");
  app.add_option("--override-generation-config", flags.override_generation_config,
                 "Sampling defaults as JSON, on top: '{\"temperature\": 0.5}'")
      ->type_name("JSON");
}

void add_cache_flags(CLI::App& app, EngineConfig& config) {
  app.option_defaults()->group("KV cache");
  add_human_int(app, "--kv-cache-memory-bytes", config.kv_cache_memory_bytes,
                "Size of the KV cache; accepts 512M, 4G. auto: from free memory, at most 4 GiB", 1)
      ->default_str("auto");
  add_human_int(app, "--block-size", config.block_size, "Tokens in a block; a multiple of 16", 16);
  add_switch(app, "enable-prefix-caching", config.enable_prefix_caching,
             "Reuse the KV of prompts that begin alike");
}

void add_scheduler_flags(CLI::App& app, EngineConfig& config) {
  app.option_defaults()->group("Scheduler");
  add_human_int(app, "--max-num-seqs", config.max_num_seqs, "Sequences running at once", 1)
      ->default_str("256; GPU: 1024");
  add_human_int(app, "--max-num-batched-tokens", config.max_num_batched_tokens,
                "Tokens in one step; larger favours throughput, smaller keeps streams even", 1)
      ->default_str("2048; GPU: 8192");
  add_switch(app, "enable-chunked-prefill", config.enable_chunked_prefill,
             "Split long prompts over several steps");
  add_human_int(app, "--long-prefill-token-threshold", config.long_prefill_token_threshold,
                "Longest piece of one prompt in one step; 0: no limit", 0);
  const auto set_policy = [&config](const std::string& name) {
    config.scheduling_policy = name == "priority" ? SchedulingPolicy::kPriority
                               : name == "fair"   ? SchedulingPolicy::kFair
                                                  : SchedulingPolicy::kFcfs;
  };
  app.add_option_function<std::string>(
         "--scheduling-policy", set_policy,
         "fcfs: in order of arrival; priority: by the request's priority, lower first; fair: each "
         "LoRA adapter gets an equal share")
      ->check(CLI::IsMember({"fcfs", "priority", "fair"}))
      ->type_name("POLICY")
      ->default_str("fcfs");
  add_switch(app, "async-scheduling", config.async_scheduling,
             "Plan a step while the one before still runs");
  add_switch(app, "forecast-output", config.forecast_output,
             "Let requests wait that the KV cache will probably not hold to their end");
  add_human_int(app, "--max-queue-len", config.max_queue_len,
                "Requests in flight beyond which new ones are answered with 429", 1);
}

void add_hardware_flags(CLI::App& app, EngineConfig& config) {
  app.option_defaults()->group("Hardware");
  app.add_option("--device", config.device, "auto: cuda if there is a GPU")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->type_name("DEVICE")
      ->default_str("auto");
  app.add_option("--gpu-memory-utilization", config.gpu_memory_utilization,
                 "Share of the GPU's memory that weights, activations and KV cache may take")
      ->type_name("SHARE");
  app.add_option("--cpu-isa", config.cpu_isa,
                 fmt::format("Kernels to use; auto: the fastest of those this CPU can run ({})",
                             fmt::join(available_cpu_isas(), ", ")))
      ->type_name("ISA");
  add_human_int(app, "--num-threads", config.num_threads,
                "Compute threads; auto: the cores this process may use", 1)
      ->default_str("auto");
  add_switch(app, "pin-threads", config.pin_threads, "Bind each compute thread to a core");
}

}  // namespace

void add_engine_flags(CLI::App& app, EngineFlags& flags) {
  add_model_flags(app, flags);
  add_cache_flags(app, flags.config);
  add_scheduler_flags(app, flags.config);
  add_lora_flags(app, flags.lora, flags.config);
  add_hardware_flags(app, flags.config);
}

void settle_model(EngineFlags& flags) {
  std::string& model = flags.config.model;
  if (!flags.model_flag.empty() && !model.empty() && model != flags.model_flag) {
    throw LoadError(
        fmt::format("MODEL is {} but --model is {}; give one", model, flags.model_flag));
  }
  if (model.empty()) {
    model = flags.model_flag.empty() ? kDefaultModel : flags.model_flag;
  }
  std::string& dtype = flags.config.dtype;
  dtype = dtype == "half" ? "float16" : dtype == "float" ? "float32" : dtype;
  settle_lora(flags.lora, flags.config);
}

}  // namespace quire
