// Offline inference in this process: LLM(options).generate(prompts, params), as vLLM's LLM class,
// and a stream of outputs for those who do not want to wait for the end.
//
// Errors: std::invalid_argument, naming the field, for options and requests that can never work;
// std::runtime_error if the model cannot be loaded, or the engine has failed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "quire/lora_request.h"
#include "quire/outputs.h"
#include "quire/sampling_params.h"

namespace quire {

class TextEngine;
class RequestsInFlight;

struct LLMOptions {
  std::string model = "quire-demo";      // directory, hub id in the local HF cache, or quire-demo
  std::string tokenizer = "";            // empty = the model's
  std::string dtype = "auto";            // auto, float32, float16, bfloat16
  std::string load_format = "auto";      // auto, safetensors, dummy (random weights)
  int max_model_len = 0;                 // 0 = the model's
  int max_num_seqs = 0;                  // 0 = 256, on a GPU 1024
  int max_num_batched_tokens = 0;        // 0 = chosen
  int block_size = 16;                   // tokens; a multiple of 16
  int64_t kv_cache_memory_bytes = 0;     // 0 = chosen
  double gpu_memory_utilization = 0.92;  // share of a GPU's memory that weights and cache may take
  bool enable_prefix_caching = true;
  bool enable_chunked_prefill = true;
  // fcfs; priority: requests of a lower GenerationRequest::priority first; or fair: adapters share
  // equally.
  std::string scheduling_policy = "fcfs";
  uint64_t seed = 0;             // of requests without one
  std::string device = "auto";   // auto: cuda if there is a GPU; cpu, cuda
  std::string cpu_isa = "auto";  // auto, avx2, avx512, ...
  int num_threads = 0;           // 0 = all cores this process may use
  bool enable_lora = false;      // accept requests with an adapter
  int max_loras = 0;             // adapters in one batch; 0 = no cap
  int max_lora_rank = 0;         // 0 = no cap below 512
  int max_cpu_loras = 0;         // adapters kept in host memory; 0 = as many as there is room for
};

// Text, or token ids.
using Prompt = std::variant<std::string, std::vector<int32_t>>;

struct GenerationRequest {
  Prompt prompt;
  SamplingParams params = {};
  // None = the base model; else it needs enable_lora.
  std::optional<LoRARequest> lora_request = std::nullopt;
  std::string request_id = "";     // empty = numbered by the LLM
  int priority = 0;                // lower is sooner; needs scheduling_policy "priority"
  std::string cache_salt = "";     // prompts share cached prefixes with the same salt only
  bool add_special_tokens = true;  // of a text: the tokenizer's BOS and EOS
};

struct ChatMessage {
  std::string role;  // system, user, assistant, tool
  std::string content;
};

// A conversation as the model's chat template reads it, in the JSON of OpenAI's API.
struct ChatPrompt {
  std::string messages = "";          // an array of objects with role, content, tool_calls, ...
  std::string tools = "";             // an array of function schemas; empty = none
  std::string template_kwargs = "";   // an object: further variables of the template; empty = none
  std::string chat_template = "";     // Jinja source; empty = the model's own
  bool add_generation_prompt = true;  // end with the beginning of an answer
  bool continue_final_message = false;  // end within the last message; excludes the former
};

// Facts about a loaded model.
struct ModelInfo {
  std::string model_path;    // directory
  std::string architecture;  // e.g. LlamaForCausalLM
  std::string dtype;
  std::string device;  // cpu, cuda
  int max_model_len = 0;
  int vocab_size = 0;  // of the model
  std::vector<int32_t> eos_token_ids;
  std::string bos_token;  // empty = the model has none; so below
  std::string eos_token;
  std::string pad_token;
  std::string unk_token;
  std::string chat_template;  // Jinja source
};

struct GenerateCallbacks {
  // After each finished prompt: its index, and its output.  On the caller's thread.
  std::function<void(size_t, const RequestOutput&)> on_finished;
  // Asked some twenty times a second on the caller's thread; true ends what is unfinished with
  // FinishReason::kAbort.
  std::function<bool()> should_stop;
};

// The directory of `model` (see LLMOptions::model).  Throws std::runtime_error saying where it
// looked.
std::string find_model(const std::string& model);

// Requests in flight, and one queue of what they give.  Outputs are what is new since the request's
// last output; its prompt, token ids and prompt logprobs come with its first one.
//
// Threads: add, abort and wake from any; poll and next from one at a time.
class RequestStream {
 public:
  RequestStream(RequestStream&&) noexcept;
  RequestStream& operator=(RequestStream&&) noexcept;
  ~RequestStream();  // aborts what is unfinished

  // Queues a request and returns its id.  Fails if the id is in flight.
  std::string add(GenerationRequest request);

  // Waits for the next output; none once nothing is unfinished.
  std::optional<RequestOutput> next();

  // Waits up to `timeout` for outputs and returns all there are, at most one per request; may be
  // empty.
  std::vector<RequestOutput> poll(std::chrono::milliseconds timeout);

  // Ends a request: its last output comes with FinishReason::kAbort.  Unknown ids are ignored.
  void abort(const std::string& request_id);

  // Lets poll() return early, now or when it is next called.
  void wake();

  size_t num_unfinished() const;  // requests whose last output has not been returned

 private:
  friend class LLM;
  explicit RequestStream(std::shared_ptr<TextEngine> engine);
  std::unique_ptr<RequestsInFlight> requests_;
};

// A loaded model.  Threads: any number of callers; their requests share batches.
class LLM {
 public:
  explicit LLM(const LLMOptions& options);
  ~LLM();  // streams that are left keep the engine alive
  LLM(const LLM&) = delete;
  LLM& operator=(const LLM&) = delete;

  // One whole output per prompt, in the order of the prompts.  All prompts are checked before the
  // first one runs.
  std::vector<RequestOutput> generate(const std::vector<Prompt>& prompts,
                                      const SamplingParams& params);
  std::vector<RequestOutput> generate(std::vector<GenerationRequest> requests,
                                      const GenerateCallbacks& callbacks = {});
  // The answer to a conversation, by the model's chat template.
  RequestOutput chat(const std::vector<ChatMessage>& messages, const SamplingParams& params);

  // The outputs of one request as they come, or an empty stream to add requests to.
  RequestStream stream(GenerationRequest request);
  RequestStream stream();

  // The text of a conversation, special tokens included: encode it without adding others.
  // Fails without a chat template, or where the template refuses the conversation.
  std::string apply_chat_template(const ChatPrompt& chat) const;
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens = true) const;
  std::string decode(const std::vector<int32_t>& token_ids, bool skip_special_tokens = true) const;
  std::string id_to_token(int32_t token_id) const;    // as in the vocabulary; empty if unknown
  int32_t token_to_id(std::string_view token) const;  // -1 if unknown
  int tokenizer_size() const;                         // highest id + 1

  const ModelInfo& info() const;
  // The sampling that the model's generation_config.json recommends.
  SamplingParams default_sampling_params() const;
  // Forgets cached prefixes.
  void reset_prefix_cache();

 private:
  std::shared_ptr<TextEngine> engine_;
};

}  // namespace quire
