// The loaded model and its streams.  The interpreter is free while the engine works.
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <chrono>

#include "bindings.h"
#include "quire/llm.h"

namespace nb = nanobind;

namespace quire {
namespace {

using WithoutGil = nb::call_guard<nb::gil_scoped_release>;

// Runs signal handlers that are due; what they raise (KeyboardInterrupt) ends the call, which
// aborts its requests.
bool run_signal_handlers() {
  const nb::gil_scoped_acquire gil;
  if (PyErr_CheckSignals() != 0) throw nb::python_error();
  return false;
}

std::vector<RequestOutput> generate(LLM& llm, std::vector<GenerationRequest> requests,
                                    nb::object on_finished) {
  GenerateCallbacks callbacks{.on_finished = nullptr, .should_stop = &run_signal_handlers};
  if (!on_finished.is_none()) {
    callbacks.on_finished = [&](size_t, const RequestOutput& output) {
      const nb::gil_scoped_acquire gil;
      on_finished(nb::cast(output, nb::rv_policy::reference));
    };
  }
  const nb::gil_scoped_release no_gil;
  return llm.generate(std::move(requests), callbacks);
}

std::vector<RequestOutput> poll(RequestStream& stream, double timeout_s) {
  const nb::gil_scoped_release no_gil;
  return stream.poll(std::chrono::milliseconds(static_cast<int64_t>(timeout_s * 1e3)));
}

void bind_model_info(nb::module_& module) {
  nb::class_<ModelInfo>(module, "ModelInfo")
      .def_ro("model_path", &ModelInfo::model_path)
      .def_ro("architecture", &ModelInfo::architecture)
      .def_ro("dtype", &ModelInfo::dtype)
      .def_ro("device", &ModelInfo::device)
      .def_ro("max_model_len", &ModelInfo::max_model_len)
      .def_ro("vocab_size", &ModelInfo::vocab_size)
      .def_ro("eos_token_ids", &ModelInfo::eos_token_ids)
      .def_ro("bos_token", &ModelInfo::bos_token)
      .def_ro("eos_token", &ModelInfo::eos_token)
      .def_ro("pad_token", &ModelInfo::pad_token)
      .def_ro("unk_token", &ModelInfo::unk_token)
      .def_ro("chat_template", &ModelInfo::chat_template);
}

}  // namespace

void bind_llm(nb::module_& module) {
  bind_model_info(module);
  nb::class_<RequestStream>(module, "RequestStream")
      .def("add", &RequestStream::add, nb::arg("request"), WithoutGil())
      .def("poll", &poll, nb::arg("timeout_s"))
      .def("abort", &RequestStream::abort, nb::arg("request_id"), WithoutGil())
      .def("wake", &RequestStream::wake, WithoutGil())
      .def_prop_ro("num_unfinished", &RequestStream::num_unfinished);
  nb::class_<LLM>(module, "LLM")
      .def(nb::init<const LLMOptions&>(), nb::arg("options"), WithoutGil())
      .def("generate", &generate, nb::arg("requests"), nb::arg("on_finished").none())
      .def(
          "stream", [](LLM& self) { return self.stream(); }, WithoutGil())
      .def("apply_chat_template", &LLM::apply_chat_template, nb::arg("chat"), WithoutGil())
      .def("encode", &LLM::encode, nb::arg("text"), nb::arg("add_special_tokens"), WithoutGil())
      .def(
          "decode",
          [](const LLM& self, const std::vector<int32_t>& ids, bool skip_special_tokens) {
            return text_of(self.decode(ids, skip_special_tokens));
          },
          nb::arg("token_ids"), nb::arg("skip_special_tokens"))
      .def(
          "id_to_token", [](const LLM& self, int32_t id) { return text_of(self.id_to_token(id)); },
          nb::arg("token_id"))
      .def("token_to_id", &LLM::token_to_id, nb::arg("token"))
      .def_prop_ro("tokenizer_size", &LLM::tokenizer_size)
      .def_prop_ro("info", &LLM::info)
      .def("default_sampling_params", &LLM::default_sampling_params)
      .def("reset_prefix_cache", &LLM::reset_prefix_cache, WithoutGil());
  module.def("find_model", &find_model, nb::arg("model"));
}

}  // namespace quire
