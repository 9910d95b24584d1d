// Which kernels and how many host threads a configuration means on this machine.
#pragma once

#include "base/thread_pool.h"
#include "engine/engine_config.h"
#include "kernels/kernel_table.h"

namespace quire {

// The table that --device and --cpu-isa name.  Throws LoadError if this machine cannot run it.
const KernelTable& choose_kernels(const EngineConfig& config);

// Threads of the pool that computes, or that serves `device`.
ThreadPoolOptions thread_pool_options(const EngineConfig& config, const Device& device);

}  // namespace quire
