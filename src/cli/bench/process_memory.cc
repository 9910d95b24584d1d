#include "cli/bench/process_memory.h"

#include <unistd.h>

#include <fstream>
#include <iterator>
#include <sstream>

#include "base/error.h"

namespace quire {

ProcessMemory parse_smaps_rollup(const std::string& text) {
  constexpr int64_t kKiB = 1024;
  ProcessMemory memory;
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string name;
    int64_t kib = 0;
    if (!(words >> name >> kib)) continue;
    const int64_t bytes = kib * kKiB;
    if (name == "Rss:") memory.resident = bytes;
    if (name == "Pss:") memory.proportional = bytes;
    if (name == "Pss_Anon:") memory.anonymous = bytes;
    if (name == "Private_Clean:" || name == "Private_Dirty:") memory.unshared += bytes;
    if (name == "Shared_Clean:" || name == "Shared_Dirty:") memory.shared += bytes;
  }
  return memory;
}

ProcessMemory read_process_memory(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/smaps_rollup";
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  const ProcessMemory memory = parse_smaps_rollup(text);
  if (memory.resident == 0) throw LoadError("cannot read " + path);
  return memory;
}

ProcessMemory read_process_memory() { return read_process_memory(getpid()); }

}  // namespace quire
