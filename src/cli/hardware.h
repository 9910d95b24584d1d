// What this machine is, as far as it explains a measurement.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace quire {

struct Hardware {
  std::string cpu_model;
  int num_cores_online = 0;
  int num_cores_allowed = 0;    // of this process's affinity mask
  double cgroup_cpu_limit = 0;  // cores; 0 = none
  int64_t memory_bytes = 0;
  int64_t memory_available_bytes = 0;
  int64_t cgroup_memory_limit_bytes = 0;  // 0 = none
  std::vector<std::string>
      isa_levels;  // of those quire has kernels for or will: avx2, fma, avx512f, ...
  std::string os;  // PRETTY_NAME
  std::string kernel;
};

// Reads /proc, /sys and /etc; what is missing stays empty.
Hardware read_hardware();

// For result files: CPU, cores, memory, and the build.
nlohmann::ordered_json hardware_json(const Hardware& hardware);

}  // namespace quire
