// The parts of quire._core.  It is thin: what a Python programmer sees is in python/quire.
#pragma once

#include <nanobind/nanobind.h>

#include <string>

namespace quire {

void bind_params(nanobind::module_& module);
void bind_outputs(nanobind::module_& module);
void bind_llm(nanobind::module_& module);

// Bytes that should be UTF-8; what is not becomes U+FFFD.
inline nanobind::str text_of(const std::string& bytes) {
  const auto size = static_cast<Py_ssize_t>(bytes.size());
  return nanobind::steal<nanobind::str>(PyUnicode_DecodeUTF8(bytes.data(), size, "replace"));
}

}  // namespace quire
