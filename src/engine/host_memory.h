// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <string>

namespace quire {

// Bytes that can be allocated without swapping: the smaller of MemAvailable and what the process's
// memory cgroup (v2 or v1) leaves.  `root` prefixes the system paths; "" outside of tests.
// Returns 0 if nothing can be read.
int64_t available_memory_bytes(const std::string& root = "");

}  // namespace quire
