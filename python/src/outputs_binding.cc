// What comes back; read-only.
#include <nanobind/stl/vector.h>

#include "bindings.h"
#include "quire/outputs.h"

namespace nb = nanobind;

namespace quire {
namespace {

nb::object finish_reason_of(const CompletionOutput& output) {
  if (!output.finish_reason) return nb::none();
  return nb::str(to_string(*output.finish_reason));
}

nb::object stop_reason_of(const CompletionOutput& output) {
  if (const auto* id = std::get_if<int32_t>(&output.stop_reason)) return nb::int_(*id);
  if (const auto* text = std::get_if<std::string>(&output.stop_reason)) return text_of(*text);
  return nb::none();
}

}  // namespace

void bind_outputs(nb::module_& module) {
  nb::class_<Logprob>(module, "Logprob")
      .def_ro("token_id", &Logprob::token_id)
      .def_ro("logprob", &Logprob::logprob)
      .def_ro("rank", &Logprob::rank)
      .def_prop_ro("decoded_token", [](const Logprob& self) { return text_of(self.bytes); });
  nb::class_<CompletionOutput>(module, "CompletionOutput")
      .def_ro("index", &CompletionOutput::index)
      .def_prop_ro("text", [](const CompletionOutput& self) { return text_of(self.text); })
      .def_ro("token_ids", &CompletionOutput::token_ids)
      .def_ro("cumulative_logprob", &CompletionOutput::cumulative_logprob)
      .def_ro("logprobs", &CompletionOutput::logprobs)
      .def_prop_ro("finish_reason", &finish_reason_of)
      .def_prop_ro("stop_reason", &stop_reason_of);
  nb::class_<RequestMetrics>(module, "RequestMetrics")
      .def_ro("arrival_time_s", &RequestMetrics::arrival_time_s)
      .def_ro("scheduled_time_s", &RequestMetrics::scheduled_time_s)
      .def_ro("first_token_time_s", &RequestMetrics::first_token_time_s)
      .def_ro("last_token_time_s", &RequestMetrics::last_token_time_s)
      .def_ro("num_preemptions", &RequestMetrics::num_preemptions);
  nb::class_<RequestOutput>(module, "RequestOutput")
      .def_prop_ro("request_id", [](const RequestOutput& self) { return text_of(self.request_id); })
      .def_prop_ro("prompt", [](const RequestOutput& self) { return text_of(self.prompt); })
      .def_ro("prompt_token_ids", &RequestOutput::prompt_token_ids)
      .def_ro("prompt_logprobs", &RequestOutput::prompt_logprobs)
      .def_ro("outputs", &RequestOutput::outputs)
      .def_ro("finished", &RequestOutput::finished)
      .def_ro("num_cached_tokens", &RequestOutput::num_cached_tokens)
      .def_ro("metrics", &RequestOutput::metrics);
}

}  // namespace quire
