#include "cli/human_number.h"

#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(HumanNumber, ReadsDecimalAndBinarySuffixes) {
  struct Case {
    const char* text;
    int64_t value;
  };
  for (const Case& c : {Case{"0", 0},
                        {"4096", 4096},
                        {"-1", -1},
                        {"4k", 4000},
                        {"4K", 4096},
                        {"25.6k", 25600},
                        {"1.5K", 1536},
                        {"2m", 2'000'000},
                        {"2M", 2 << 20},
                        {"4G", int64_t{4} << 30},
                        {"4GiB", int64_t{4} << 30},
                        {"4GB", 4'000'000'000},
                        {"1t", 1'000'000'000'000},
                        {"1T", int64_t{1} << 40}}) {
    const auto parsed = parse_human_int(c.text);
    ASSERT_TRUE(parsed) << c.text;
    EXPECT_EQ(*parsed, c.value) << c.text;
  }
}

TEST(HumanNumber, RefusesWhatIsNoWholeNumber) {
  for (const char* text :
       {"", "k", "4x", "4kk", "1.0001k", "0.5", "4 k", "1e3", "--4", "99999999T", "4Gi", "nan"}) {
    EXPECT_FALSE(parse_human_int(text)) << text;
  }
}

TEST(HumanNumber, FormatsForPeople) {
  EXPECT_EQ(format_bytes(3), "3 B");
  EXPECT_EQ(format_bytes(3 << 19), "1.5 MiB");
  EXPECT_EQ(format_count(1234567), "1,234,567");
  EXPECT_EQ(format_count(-100), "-100");
  EXPECT_EQ(format_duration(5.25), "5.2s");
  EXPECT_EQ(format_duration(245), "4m05s");
  EXPECT_EQ(format_duration(7380), "2h03m");
}

}  // namespace
}  // namespace quire
