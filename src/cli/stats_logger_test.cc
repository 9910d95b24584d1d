#include "cli/stats_logger.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quire {
namespace {

TEST(StatsLine, ReportsRatesSinceTheLastLine) {
  EngineStats before;
  before.prompt_tokens = 100;
  before.generation_tokens = 1000;
  before.scheduler.prefix_cache_queries = 50;
  before.scheduler.prefix_cache_hits = 50;
  EngineStats now = before;
  now.prompt_tokens = 300;
  now.generation_tokens = 1850;
  now.scheduler.num_running = 3;
  now.scheduler.num_waiting = 2;
  now.scheduler.num_blocks = 200;
  now.scheduler.num_free_blocks = 150;
  now.scheduler.prefix_cache_queries = 150;
  now.scheduler.prefix_cache_hits = 75;
  EXPECT_EQ(stats_line(before, now, 10),
            "prompt 20.0 tokens/s, generation 85.0 tokens/s, running 3, waiting 2, "
            "KV cache 25.0 % used, prefix cache hit rate 25.0 %, preemptions 0");
}

TEST(StatsLine, OfAnIdleEngineDividesByNothing) {
  EXPECT_THAT(stats_line({}, {}, 10), testing::HasSubstr("hit rate 0.0 %"));
}

}  // namespace
}  // namespace quire
