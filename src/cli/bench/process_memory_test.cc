#include "cli/bench/process_memory.h"

#include <gtest/gtest.h>

#include <vector>

namespace quire {
namespace {

TEST(ProcessMemory, ReadsTheKernelsSummary) {
  const ProcessMemory memory = parse_smaps_rollup(
      "557c41329000-7ffd6a80a000 ---p 00000000 00:00 0                          [rollup]\n"
      "Rss:                1788 kB\nPss:                 290 kB\nPss_Dirty:           116 kB\n"
      "Pss_Anon:            117 kB\nShared_Clean:       1600 kB\nShared_Dirty:         24 kB\n"
      "Private_Clean:        48 kB\nPrivate_Dirty:       116 kB\nSwap:                  3 kB\n");
  EXPECT_EQ(memory.resident, 1788 * 1024);
  EXPECT_EQ(memory.proportional, 290 * 1024);
  EXPECT_EQ(memory.anonymous, 117 * 1024);
  EXPECT_EQ(memory.unshared, 164 * 1024);
  EXPECT_EQ(memory.shared, 1624 * 1024);
}

TEST(ProcessMemory, GrowsByWhatIsWrittenTo) {
  constexpr int64_t kBytes = int64_t{64} << 20;
  const ProcessMemory before = read_process_memory();
  std::vector<char> written(static_cast<size_t>(kBytes), 'x');
  const int64_t growth = read_process_memory().unshared - before.unshared;
  *static_cast<volatile char*>(written.data()) = 'y';  // not to be optimised away
  EXPECT_GE(growth, kBytes * 9 / 10);
  EXPECT_LE(growth, kBytes * 3 / 2);
}

}  // namespace
}  // namespace quire
