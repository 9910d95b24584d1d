#include "cli/memory_line.h"

#include <fmt/format.h>

#include "cli/human_number.h"

namespace quire {

std::string memory_line(const DeviceMemory& memory) {
  return fmt::format("memory: weights {}, KV cache {}, workspace {}{}, free {}",
                     format_bytes(memory.weights_bytes), format_bytes(memory.kv_cache_bytes),
                     format_bytes(memory.workspace_bytes),
                     memory.other_bytes > 0 ? ", other " + format_bytes(memory.other_bytes) : "",
                     format_bytes(memory.free_bytes));
}

}  // namespace quire
