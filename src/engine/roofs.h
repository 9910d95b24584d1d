// The limits of a device, measured on it: what the rates that steps achieve are compared with.
#pragma once

#include <string>

#include "engine/engine_config.h"

namespace quire {

struct Roofs {
  double bytes_per_second = 0.0;
  double flops_per_second = 0.0;
  std::string bytes_method;  // "copies of 512 MiB"
  std::string flops_method;  // "bfloat16 products 8192 x 8192 x 8192"
};

// On a GPU: copies within its memory, bytes read and written, and a large product by the engine's
// own kernels in the type of the model's weights.  On the CPU: reading memory with all threads, and
// products likewise.  The best of some runs; takes less than a second and, before the model is
// loaded, 1.4 GiB.  Throws LoadError as start_engine does.
Roofs measure_roofs(const EngineConfig& config);

}  // namespace quire
