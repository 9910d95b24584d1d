#include "engine/text_engine.h"

#include <cctype>
#include <limits>
#include <stdexcept>
#include <utility>

#include "base/error.h"
#include "engine/adapter_registry.h"
#include "engine/engine.h"
#include "engine/llm_chat.h"
#include "engine/model_path.h"

namespace quire {
namespace {

SchedulingPolicy scheduling_policy_of(const std::string& name) {
  if (name == "fcfs") return SchedulingPolicy::kFcfs;
  if (name == "priority") return SchedulingPolicy::kPriority;
  if (name == "fair") return SchedulingPolicy::kFair;
  throw std::invalid_argument("scheduling_policy must be fcfs, priority or fair, got " + name);
}

EngineConfig engine_config_of(const LLMOptions& options) {
  EngineConfig config;
  config.model = options.model;
  config.tokenizer = options.tokenizer;
  config.dtype = options.dtype;
  config.load_format = options.load_format;
  config.max_model_len = options.max_model_len;
  config.max_num_seqs = options.max_num_seqs;
  config.max_num_batched_tokens = options.max_num_batched_tokens;
  config.block_size = options.block_size;
  config.kv_cache_memory_bytes = options.kv_cache_memory_bytes;
  config.gpu_memory_utilization = options.gpu_memory_utilization;
  config.enable_prefix_caching = options.enable_prefix_caching;
  config.enable_chunked_prefill = options.enable_chunked_prefill;
  config.scheduling_policy = scheduling_policy_of(options.scheduling_policy);
  config.seed = options.seed;
  config.device = options.device;
  config.cpu_isa = options.cpu_isa;
  config.num_threads = options.num_threads;
  config.enable_lora = options.enable_lora;
  config.max_loras = options.max_loras;
  config.max_lora_rank = options.max_lora_rank;
  config.max_cpu_loras = options.max_cpu_loras;
  config.max_queue_len = std::numeric_limits<int>::max();  // the caller holds all prompts already
  return config;
}

// The engine names options by their flags: "--max-model-len" to "max_model_len".
std::string with_option_names(const std::string& message) {
  std::string result;
  for (size_t i = 0; i < message.size();) {
    const bool is_flag = message.compare(i, 2, "--") == 0 && i + 2 < message.size() &&
                         std::islower(static_cast<unsigned char>(message[i + 2])) != 0;
    if (!is_flag) {
      result += message[i++];
      continue;
    }
    for (i += 2; i < message.size(); ++i) {
      const char c = message[i];
      if (c != '-' && std::isalnum(static_cast<unsigned char>(c)) == 0) break;
      result += c == '-' ? '_' : c;
    }
  }
  return result;
}

std::unique_ptr<EngineClient> start(const LLMOptions& options) {
  try {
    return start_engine(engine_config_of(options));
  } catch (const LoadError& error) {
    const std::string message = error.what();
    if (message.starts_with("--")) throw std::invalid_argument(with_option_names(message));
    throw std::runtime_error(with_option_names(message));
  }
}

std::string tokenizer_directory(const LLMOptions& options) {
  return resolve_model_path(options.tokenizer.empty() ? options.model : options.tokenizer);
}

std::unique_ptr<ChatTemplate> parse_template(const std::string& source) {
  return source.empty() ? nullptr : std::make_unique<ChatTemplate>(source);
}

ModelInfo info_of(const EngineInfo& engine, const ChatTemplateConfig& chat) {
  return {.model_path = engine.model_path,
          .architecture = engine.architecture,
          .dtype = engine.dtype,
          .device = engine.device,
          .max_model_len = engine.max_model_len,
          .vocab_size = engine.vocab_size,
          .eos_token_ids = engine.eos_token_ids,
          .bos_token = chat.bos_token,
          .eos_token = chat.eos_token,
          .pad_token = chat.pad_token,
          .unk_token = chat.unk_token,
          .chat_template = chat.source};
}

// The caller limits itself.
constexpr int kNoLimit = std::numeric_limits<int>::max();
constexpr SamplingLimits kLimits = {.max_logprobs = -1,
                                    .max_stop_strings = kNoLimit,
                                    .max_stop_string_bytes = kNoLimit,
                                    .max_bad_words = kNoLimit,
                                    .max_n = kNoLimit,
                                    .max_logit_bias_entries = kNoLimit};

}  // namespace

TextEngine::TextEngine(const LLMOptions& options)
    : options_(options),
      tokenizer_(load_tokenizer(tokenizer_directory(options))),
      chat_config_(load_chat_template_config(tokenizer_directory(options))),
      chat_template_(parse_template(chat_config_.source)),
      client_(start(options)),
      input_processor_(*client_, tokenizer_.get(), kLimits),
      info_(info_of(client_->info(), chat_config_)) {}

PreparedRequest TextEngine::prepare(GenerationRequest request) {
  if (request.priority != 0 && options_.scheduling_policy != "priority") {
    throw std::invalid_argument("priority needs scheduling_policy 'priority'");
  }
  std::shared_ptr<const LoraAdapter> adapter;
  if (request.lora_request) adapter = acquire(*request.lora_request);
  PreparedRequest prepared;
  RequestOutput& output = prepared.output;
  output.request_id = request.request_id.empty() ? std::to_string(num_requests_.fetch_add(1))
                                                 : std::move(request.request_id);
  if (auto* text = std::get_if<std::string>(&request.prompt)) {
    output.prompt_token_ids = tokenizer_->encode(*text, request.add_special_tokens);
    output.prompt = std::move(*text);
  } else {
    output.prompt_token_ids = std::move(std::get<std::vector<int32_t>>(request.prompt));
  }
  auto sequences = input_processor_.process({.token_ids = output.prompt_token_ids,
                                             .params = std::move(request.params),
                                             .priority = request.priority,
                                             .cache_salt = std::move(request.cache_salt),
                                             .adapter = std::move(adapter)});
  if (!sequences) throw std::invalid_argument(sequences.error().message);
  prepared.sequences = std::move(sequences).value();
  output.metrics.arrival_time_s = prepared.sequences.front().arrival_time_s;
  return prepared;
}

std::shared_ptr<const LoraAdapter> TextEngine::acquire(const LoRARequest& request) {
  AdapterRegistry* adapters = client_->adapters();
  if (adapters == nullptr) throw std::invalid_argument("lora_request needs enable_lora");
  if (!request.lora_path.empty()) {
    if (auto added = adapters->add(request); !added) {
      throw std::invalid_argument(added.error().message);
    }
  }
  auto adapter = adapters->acquire(request.lora_name);
  if (!adapter) throw std::invalid_argument(adapter.error().message);
  return std::move(*adapter);
}

std::string TextEngine::render_chat(const ChatPrompt& chat) const {
  std::unique_ptr<const ChatTemplate> own;
  if (!chat.chat_template.empty()) {
    try {
      own = parse_template(chat.chat_template);
    } catch (const LoadError& error) {
      throw std::invalid_argument(std::string("chat_template: ") + error.what());
    }
  }
  const ChatTemplate* chat_template = own != nullptr ? own.get() : chat_template_.get();
  if (chat_template == nullptr) {
    throw std::invalid_argument("chat_template is needed: the model has none");
  }
  auto text = render_chat_prompt(*chat_template, chat_config_, chat);
  if (!text) throw std::invalid_argument(text.error().message);
  return std::move(*text);
}

}  // namespace quire
