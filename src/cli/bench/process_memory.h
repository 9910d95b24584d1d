// The host memory of a process, as the kernel counts it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace quire {

// Bytes.  A page that several processes map counts for each of them in full in `resident` and
// `shared`, and divided by their number in `proportional`: sums of that over processes count every
// page once.  A page that one process maps twice counts twice in `resident`.
struct ProcessMemory {
  int64_t resident = 0;
  int64_t proportional = 0;
  int64_t anonymous = 0;  // of proportional: not of a file
  int64_t unshared = 0;   // of resident: pages that no other process maps
  int64_t shared = 0;     // the others
};

// Of /proc/PID/smaps_rollup.  Throws LoadError if the kernel has none (before Linux 4.14).
ProcessMemory read_process_memory(pid_t pid);
// Of this process.
ProcessMemory read_process_memory();

// Of a text of that form.
ProcessMemory parse_smaps_rollup(const std::string& text);

}  // namespace quire
