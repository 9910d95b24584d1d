#include "engine/device_worker.h"

#include <gtest/gtest.h>

#include <future>
#include <stdexcept>
#include <vector>

#include "base/error.h"

namespace quire {
namespace {

TEST(DeviceWorker, RunsJobsInOrder) {
  DeviceWorker worker;
  std::vector<int> order;
  uint64_t last = 0;
  for (int i = 0; i < 100; ++i) last = worker.post([&order, i] { order.push_back(i); });
  worker.wait(last);
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
}

TEST(DeviceWorker, PostReturnsBeforeTheJobHasRun) {
  DeviceWorker worker;
  std::promise<void> gate;
  const uint64_t ticket = worker.post([&] { gate.get_future().wait(); });
  gate.set_value();
  worker.wait(ticket);
}

TEST(DeviceWorker, AFailureReachesEveryLaterWaitAndStopsTheRest) {
  DeviceWorker worker;
  bool ran = false;
  worker.post([] { throw std::runtime_error("broken"); });
  const uint64_t later = worker.post([&] { ran = true; });
  EXPECT_THROW(worker.wait(later), DeviceError);
  EXPECT_THROW(worker.wait(later), DeviceError);
  EXPECT_FALSE(ran);
}

}  // namespace
}  // namespace quire
