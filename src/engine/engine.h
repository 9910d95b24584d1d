// The engine in this process: loads a model and runs steps on a thread of its own.
// Does no text and no HTTP.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine_client.h"
#include "engine/engine_config.h"

namespace quire {

struct KernelTable;

// Loads the model, plans the memory, warms up and starts the loop.  Throws LoadError.
// Destroying the client aborts what is in flight and joins the thread.
std::unique_ptr<EngineClient> start_engine(const EngineConfig& config);
// The same with given kernels, which outlive the engine, whatever device and cpu_isa say.
std::unique_ptr<EngineClient> start_engine(const EngineConfig& config, const KernelTable& kernels);

// The number of GPUs that this build can use on this machine: 0 or 1.
int num_gpus();

// What EngineConfig::cpu_isa may be on this machine beside "auto", from the slowest to the fastest.
std::vector<std::string> available_cpu_isas();

}  // namespace quire
