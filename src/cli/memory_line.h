// Who has the device's memory, for people.
#pragma once

#include <string>

#include "engine/engine_client.h"

namespace quire {

// "memory: weights 15.0 GiB, KV cache 50.1 GiB, workspace 1.1 GiB, other 0.9 GiB, free 6.4 GiB".
std::string memory_line(const DeviceMemory& memory);

}  // namespace quire
