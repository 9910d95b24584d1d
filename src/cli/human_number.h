// Numbers as people write them on a command line.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/expected.h"

namespace quire {

// "4096", "4k" = 4000, "4K" = 4096, "25.6k" = 25600, "4G" = "4GiB" = 2^32, "512MB" = 512e6.
// Lower-case suffixes and "xB" are powers of 1000, upper-case ones and "xiB" powers of 1024, as
// vLLM reads them.  Fails with a message on anything else, on fractions of one and beyond 2^62.
Expected<int64_t, std::string> parse_human_int(std::string_view text);

// "1.5 GiB", "512 MiB", "3 B".
std::string format_bytes(int64_t num_bytes);
// "12,345".
std::string format_count(int64_t count);
// "3.2s", "4m05s", "2h03m".
std::string format_duration(double seconds);

}  // namespace quire
