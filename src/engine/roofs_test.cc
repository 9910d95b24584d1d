#include "engine/roofs.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace quire {
namespace {

TEST(Roofs, AreThoseOfTheChosenKernels) {
  EngineConfig config;
  config.model = std::string(QUIRE_SOURCE_DIR) + "/models/quire-demo";
  config.device = "cpu";
  config.num_threads = 1;
  const Roofs fast = measure_roofs(config);
  EXPECT_GT(fast.bytes_per_second, 1e8);
  EXPECT_NE(fast.flops_method.find("bfloat16 products"), std::string::npos) << fast.flops_method;
  config.cpu_isa = "reference";
  const Roofs slow = measure_roofs(config);
  EXPECT_GT(slow.flops_per_second, 1e6);
  EXPECT_LE(slow.flops_per_second, 2.0 * fast.flops_per_second);
}

TEST(Roofs, NeedAModel) {
  EngineConfig config;
  config.model = "/nowhere";
  EXPECT_THROW(measure_roofs(config), LoadError);
}

}  // namespace
}  // namespace quire
