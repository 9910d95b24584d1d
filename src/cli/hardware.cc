#include "cli/hardware.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>

#include "cli/version.h"

namespace quire {
namespace {

// The value behind the first "key<separator>value" line, trimmed.
std::string value_of(const std::string& path, const std::string& key, char separator) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    const size_t split = line.find(separator);
    if (split == std::string::npos || line.rfind(key, 0) != 0) {
      continue;
    }
    const size_t begin = line.find_first_not_of(" \t\"", split + 1);
    const size_t end = line.find_last_not_of(" \t\"");
    return begin == std::string::npos ? "" : line.substr(begin, end + 1 - begin);
  }
  return "";
}

int64_t meminfo_bytes(const char* key) {
  const std::string value = value_of("/proc/meminfo", key, ':');
  return value.empty() ? 0 : std::stoll(value) * 1024;
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// The directory of this process in the unified (v2) hierarchy.
std::string cgroup_directory() {
  std::ifstream file("/proc/self/cgroup");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("0::", 0) == 0) {
      return "/sys/fs/cgroup" + line.substr(3);
    }
  }
  return "/sys/fs/cgroup";
}

void read_cgroup(Hardware& hardware) {
  const std::string directory = cgroup_directory();
  std::istringstream cpu(first_line(directory + "/cpu.max"));
  double quota = 0;
  double period = 0;
  if (cpu >> quota >> period && period > 0) {  // "max 100000" is no number: no limit
    hardware.cgroup_cpu_limit = quota / period;
  }
  std::istringstream memory(first_line(directory + "/memory.max"));
  memory >> hardware.cgroup_memory_limit_bytes;
}

std::vector<std::string> read_isa_levels() {
  constexpr std::array kFlags{"sse4_2",      "avx",      "f16c",     "fma",         "avx2",
                              "avx512f",     "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
                              "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16",    "amx_int8"};
  std::istringstream words(value_of("/proc/cpuinfo", "flags", ':'));
  std::vector<std::string> all;
  for (std::string word; words >> word;) {
    all.push_back(word);
  }
  std::vector<std::string> levels;
  for (const char* flag : kFlags) {
    if (std::find(all.begin(), all.end(), flag) != all.end()) {
      levels.emplace_back(flag);
    }
  }
  return levels;
}

}  // namespace

Hardware read_hardware() {
  Hardware hardware;
  hardware.cpu_model = value_of("/proc/cpuinfo", "model name", ':');
  hardware.num_cores_online = static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN));
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  hardware.num_cores_allowed = sched_getaffinity(0, sizeof(allowed), &allowed) == 0
                                   ? CPU_COUNT(&allowed)
                                   : hardware.num_cores_online;
  read_cgroup(hardware);
  hardware.memory_bytes = meminfo_bytes("MemTotal");
  hardware.memory_available_bytes = meminfo_bytes("MemAvailable");
  hardware.isa_levels = read_isa_levels();
  hardware.os = value_of("/etc/os-release", "PRETTY_NAME", '=');
  utsname name{};
  if (uname(&name) == 0) {
    hardware.kernel = std::string(name.sysname) + " " + name.release + " " + name.machine;
  }
  return hardware;
}

nlohmann::ordered_json hardware_json(const Hardware& hardware) {
  return {{"cpu", hardware.cpu_model},
          {"cores_online", hardware.num_cores_online},
          {"cores_allowed", hardware.num_cores_allowed},
          {"memory_bytes", hardware.memory_bytes},
          {"isa_levels", hardware.isa_levels},
          {"os", hardware.os},
          {"kernel", hardware.kernel},
          {"quire_version", version_string()},
          {"quire_commit", version_commit()},
          {"compiler", version_compiler()},
          {"build_type", version_build_type()}};
}

}  // namespace quire
