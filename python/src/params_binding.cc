// What goes in: sampling parameters, adapters, requests, conversations, options.
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <limits>
#include <optional>
#include <stdexcept>

#include "bindings.h"
#include "quire/llm.h"

namespace nb = nanobind;

namespace quire {
namespace {

// Throws ValueError naming the field; what depends on the model is checked with the request.
void check_sampling_params(const SamplingParams& params) {
  constexpr int kNoLimit = std::numeric_limits<int>::max();
  const SamplingLimits limits = {.vocab_size = kNoLimit,
                                 .max_logprobs = -1,
                                 .max_stop_strings = kNoLimit,
                                 .max_stop_string_bytes = kNoLimit,
                                 .max_bad_words = kNoLimit,
                                 .max_n = kNoLimit,
                                 .max_logit_bias_entries = kNoLimit};
  if (const auto error = validate(params, limits)) throw std::invalid_argument(error->message);
}

void bind_sampling_params(nb::module_& module) {
  nb::class_<RepetitionDetection>(module, "RepetitionDetection")
      .def(nb::init<>())
      .def_rw("max_pattern_size", &RepetitionDetection::max_pattern_size)
      .def_rw("min_pattern_size", &RepetitionDetection::min_pattern_size)
      .def_rw("min_count", &RepetitionDetection::min_count);
  nb::class_<SamplingParams>(module, "SamplingParams")
      .def(nb::init<>())
      .def("check", &check_sampling_params)
      .def_rw("n", &SamplingParams::n)
      .def_rw("presence_penalty", &SamplingParams::presence_penalty)
      .def_rw("frequency_penalty", &SamplingParams::frequency_penalty)
      .def_rw("repetition_penalty", &SamplingParams::repetition_penalty)
      .def_rw("temperature", &SamplingParams::temperature)
      .def_rw("top_p", &SamplingParams::top_p)
      .def_rw("top_k", &SamplingParams::top_k)
      .def_rw("min_p", &SamplingParams::min_p)
      .def_rw("seed", &SamplingParams::seed, nb::arg().none())
      .def_rw("stop", &SamplingParams::stop)
      .def_rw("stop_token_ids", &SamplingParams::stop_token_ids)
      .def_rw("include_stop_str_in_output", &SamplingParams::include_stop_str_in_output)
      .def_rw("ignore_eos", &SamplingParams::ignore_eos)
      .def_rw("max_tokens", &SamplingParams::max_tokens, nb::arg().none())
      .def_rw("min_tokens", &SamplingParams::min_tokens)
      .def_rw("logprobs", &SamplingParams::logprobs, nb::arg().none())
      .def_rw("prompt_logprobs", &SamplingParams::prompt_logprobs, nb::arg().none())
      .def_rw("logit_bias", &SamplingParams::logit_bias)
      .def_rw("allowed_token_ids", &SamplingParams::allowed_token_ids)
      .def_rw("bad_words", &SamplingParams::bad_words)
      .def_rw("detokenize", &SamplingParams::detokenize)
      .def_rw("skip_special_tokens", &SamplingParams::skip_special_tokens)
      .def_rw("spaces_between_special_tokens", &SamplingParams::spaces_between_special_tokens)
      .def_rw("repetition_detection", &SamplingParams::repetition_detection);
}

void bind_requests(nb::module_& module) {
  nb::class_<LoRARequest>(module, "LoRARequest")
      .def(
          "__init__",
          [](LoRARequest* self, std::string name, int64_t int_id, std::string path) {
            new (self) LoRARequest{std::move(name), int_id, std::move(path)};
          },
          nb::arg("lora_name"), nb::arg("lora_int_id"), nb::arg("lora_path"));
  nb::class_<GenerationRequest>(module, "GenerationRequest")
      .def(
          "__init__",
          [](GenerationRequest* self, Prompt prompt, const SamplingParams& params,
             std::optional<LoRARequest> lora_request, std::string request_id, int priority,
             std::string cache_salt, bool add_special_tokens) {
            new (self) GenerationRequest{std::move(prompt),     params,   std::move(lora_request),
                                         std::move(request_id), priority, std::move(cache_salt),
                                         add_special_tokens};
          },
          nb::arg("prompt"), nb::arg("params"), nb::arg("lora_request").none(),
          nb::arg("request_id"), nb::arg("priority"), nb::arg("cache_salt"),
          nb::arg("add_special_tokens"));
  nb::class_<ChatPrompt>(module, "ChatPrompt")
      .def(nb::init<>())
      .def_rw("messages", &ChatPrompt::messages)
      .def_rw("tools", &ChatPrompt::tools)
      .def_rw("template_kwargs", &ChatPrompt::template_kwargs)
      .def_rw("chat_template", &ChatPrompt::chat_template)
      .def_rw("add_generation_prompt", &ChatPrompt::add_generation_prompt)
      .def_rw("continue_final_message", &ChatPrompt::continue_final_message);
}

void bind_options(nb::module_& module) {
  nb::class_<LLMOptions>(module, "LLMOptions")
      .def(nb::init<>())
      .def_rw("model", &LLMOptions::model)
      .def_rw("tokenizer", &LLMOptions::tokenizer)
      .def_rw("dtype", &LLMOptions::dtype)
      .def_rw("load_format", &LLMOptions::load_format)
      .def_rw("max_model_len", &LLMOptions::max_model_len)
      .def_rw("max_num_seqs", &LLMOptions::max_num_seqs)
      .def_rw("max_num_batched_tokens", &LLMOptions::max_num_batched_tokens)
      .def_rw("block_size", &LLMOptions::block_size)
      .def_rw("kv_cache_memory_bytes", &LLMOptions::kv_cache_memory_bytes)
      .def_rw("gpu_memory_utilization", &LLMOptions::gpu_memory_utilization)
      .def_rw("enable_prefix_caching", &LLMOptions::enable_prefix_caching)
      .def_rw("enable_chunked_prefill", &LLMOptions::enable_chunked_prefill)
      .def_rw("scheduling_policy", &LLMOptions::scheduling_policy)
      .def_rw("seed", &LLMOptions::seed)
      .def_rw("device", &LLMOptions::device)
      .def_rw("cpu_isa", &LLMOptions::cpu_isa)
      .def_rw("num_threads", &LLMOptions::num_threads)
      .def_rw("enable_lora", &LLMOptions::enable_lora)
      .def_rw("max_loras", &LLMOptions::max_loras)
      .def_rw("max_lora_rank", &LLMOptions::max_lora_rank)
      .def_rw("max_cpu_loras", &LLMOptions::max_cpu_loras);
}

}  // namespace

void bind_params(nb::module_& module) {
  bind_sampling_params(module);
  bind_requests(module);
  bind_options(module);
}

}  // namespace quire
