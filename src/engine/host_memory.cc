#include "engine/host_memory.h"

#include <algorithm>
#include <fstream>
#include <optional>

namespace quire {
namespace {

// The number in a file of one number; none for "max" or a missing file.
std::optional<int64_t> read_number(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  if (!(file >> value)) return std::nullopt;
  return value;
}

std::optional<int64_t> mem_available(const std::string& root) {
  std::ifstream file(root + "/proc/meminfo");
  std::string key;
  int64_t kib = 0;
  std::string unit;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib * 1024;
    std::getline(file, unit);
  }
  return std::nullopt;
}

// What is left below a limit; none if there is no limit.
std::optional<int64_t> left_of(const std::string& limit_path, const std::string& usage_path) {
  const std::optional<int64_t> limit = read_number(limit_path);
  const std::optional<int64_t> usage = read_number(usage_path);
  if (!limit || !usage) return std::nullopt;
  return std::max<int64_t>(0, *limit - *usage);
}

}  // namespace

int64_t available_memory_bytes(const std::string& root) {
  const std::string cgroup = root + "/sys/fs/cgroup/";
  std::optional<int64_t> result = mem_available(root);
  for (const std::optional<int64_t> left :
       {left_of(cgroup + "memory.max", cgroup + "memory.current"),
        left_of(cgroup + "memory/memory.limit_in_bytes",
                cgroup + "memory/memory.usage_in_bytes")}) {
    if (left) result = std::min(result.value_or(*left), *left);
  }
  return result.value_or(0);
}

}  // namespace quire
