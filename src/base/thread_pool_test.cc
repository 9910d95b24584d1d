#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace quire {
namespace {

TEST(ThreadPool, RunsTheTaskOnceOnEveryThread) {
  for (int num_threads : {1, 2, 3, 8}) {
    ThreadPool pool({.num_threads = num_threads});
    ASSERT_EQ(pool.num_threads(), num_threads);
    for (int round = 0; round < 200; ++round) {
      std::vector<int> calls(num_threads, 0);
      pool.run([&](int thread) { ++calls[thread]; });
      EXPECT_EQ(calls, std::vector<int>(num_threads, 1));
    }
  }
}

TEST(ThreadPool, DefaultsToAtLeastOneThread) {
  ThreadPool pool({});
  EXPECT_GE(pool.num_threads(), 1);
}

TEST(ThreadPool, ParallelForCoversTheRangeOnceInMultiplesOfTheGrain) {
  ThreadPool pool({.num_threads = 3});
  for (int64_t count : {0, 1, 7, 32, 33, 100, 1000}) {
    for (int64_t grain : {1, 8, 32}) {
      std::vector<std::atomic<int>> hits(count);
      pool.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
        EXPECT_EQ(begin % grain, 0);
        EXPECT_TRUE(end == count || end % grain == 0);
        for (int64_t i = begin; i < end; ++i) hits[i].fetch_add(1);
      });
      for (const auto& hit : hits) EXPECT_EQ(hit.load(), 1);
    }
  }
}

TEST(ThreadPool, WorksAgainAfterItsThreadsHaveParked) {
  ThreadPool pool({.num_threads = 2});
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<int> calls{0};
    pool.run([&](int) { calls.fetch_add(1); });
    EXPECT_EQ(calls.load(), 2);
  }
}

TEST(ThreadPool, IdleThreadsUseNoProcessorTime) {
  ThreadPool pool({.num_threads = 4});
  pool.run([](int) {});
  const auto cpu_seconds = [] {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const double before = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_LT(cpu_seconds() - before, 0.02);
}

}  // namespace
}  // namespace quire
