#include "bindings.h"

NB_MODULE(_core, module) {
  nanobind::set_leak_warnings(false);  // a program may end with models in its globals
  module.doc() = "The engine of quire; use the package quire.";
  quire::bind_params(module);
  quire::bind_outputs(module);
  quire::bind_llm(module);
}
