#include "engine/adapter_loader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "engine/lora_adapter.h"
#include "support/late_device.h"
#include "support/random_adapter.h"

namespace quire {
namespace {

constexpr int64_t kBlockBytes = 4096;
constexpr int kNumLayers = 12;
constexpr int kNumBlocks = 400;

LoraModelShape shape_of_model() {
  LoraModelShape shape{.targets = {},
                       .dtype = DType::kF32,
                       .block_bytes = kBlockBytes,
                       .device = &LateDevice::table()};
  for (int layer = 0; layer < kNumLayers; ++layer) {
    for (const char* module : {"q_proj", "down_proj"}) {
      shape.targets.push_back({.name = "model.layers." + std::to_string(layer) + "." + module,
                               .in_features = 96,
                               .out_features = 64});
    }
  }
  return shape;
}

class AdapterLoaderTest : public ::testing::Test {
 protected:
  // An adapter and a place for it, from `first_block` on.
  AdapterLoad make_load(unsigned seed, int first_block) {
    const RandomAdapter files(shape_.targets, {.seed = seed, .rank = 5});
    auto adapter = std::make_shared<LoraAdapter>(files.path(), shape_, 16);
    auto place = std::make_shared<AdapterPlace>();
    for (size_t i = 0; i < adapter->layout().used_bytes.size(); ++i) {
      place->block_ids.push_back(first_block + static_cast<int32_t>(i) * 2);
      place->last_steps.push_back(0);
    }
    return {.weights = std::move(adapter), .place = std::move(place)};
  }

  // Whether the arena has what the adapter adds for a target.
  bool has_target(const AdapterLoad& load, int target) const {
    const AdapterLayout& layout = load.weights->layout();
    const AdapterAddress address(layout, *load.place, kBlockBytes);
    LoraPart part;
    read(address.of(layout.directory) + target * static_cast<int64_t>(sizeof(part)), part);
    if (part.rank != 5) return false;
    const PeftPart& peft = load.weights->peft().parts()[static_cast<size_t>(target)];
    for (int j = 0; j < part.rank; ++j) {
      LoraRow row;
      read(part.rows + j * static_cast<int64_t>(sizeof(row)), row);
      float a = 0.0F;
      float b = 0.0F;
      read(row.a, a);
      read(row.b, b);
      if (a != *peft.a.rows_view(j, 1).as<float>() || b != peft.b.as<float>()[j]) return false;
    }
    return true;
  }
  template <typename T>
  void read(int64_t from, T& to) const {
    std::memcpy(&to, arena_.data() + from, sizeof(to));
  }

  const LoraModelShape shape_ = shape_of_model();
  const int num_targets_ = static_cast<int>(shape_.targets.size());
  ThreadPool pool_{{.num_threads = 1}};
  Stream stream_{pool_, LateDevice::table()};
  Buffer arena_{kNumBlocks * kBlockBytes, LateDevice::table()};
  AdapterLoader loader_{stream_, arena_.data(), num_targets_};
};

TEST_F(AdapterLoaderTest, WhatIsWaitedForIsThereAndWhatIsNotComesLater) {
  const AdapterLoad loads[] = {make_load(1, 1), make_load(2, 2)};
  loader_.load(loads, nullptr);
  stream_.synchronize();
  EXPECT_FALSE(has_target(loads[0], 0)) << "nobody has waited";
  for (int target = 0; target < num_targets_; ++target) {
    loader_.wait_for(target);
    stream_.synchronize();
    for (const AdapterLoad& load : loads) EXPECT_TRUE(has_target(load, target)) << target;
    if (target == 0) EXPECT_FALSE(has_target(loads[0], num_targets_ - 1));
  }
}

TEST_F(AdapterLoaderTest, BlocksThatTheRunningStepUsesAreOverwrittenAfterIt) {
  const AdapterLoad load = make_load(3, 1);
  auto place = std::make_shared<AdapterPlace>(*load.place);
  const size_t used_block = place->block_ids.size() / 2;
  place->last_steps[used_block] = 7;
  const AdapterLoad meets{.weights = load.weights, .place = place};
  // The step reads the block when it runs.
  const std::byte* used = arena_.data() + place->block_ids[used_block] * kBlockBytes;
  bool was_intact = false;
  LateDevice::push(stream_.queue(), [&] {
    was_intact =
        std::all_of(used, used + kBlockBytes, [](std::byte b) { return b == std::byte{}; });
  });
  void* event = LateDevice::table().create_event();
  LateDevice::table().record_event(stream_.queue(), event);
  const AdapterLoader::Running running{.step_id = 7, .event = event};
  loader_.load({&meets, 1}, &running);
  loader_.wait_for_all();
  stream_.synchronize();
  EXPECT_TRUE(was_intact);
  for (int target = 0; target < num_targets_; ++target) EXPECT_TRUE(has_target(meets, target));
  LateDevice::table().destroy_event(event);
}

TEST_F(AdapterLoaderTest, ALoadThatNobodyWaitedForIsThereBeforeTheNextStep) {
  const AdapterLoad load = make_load(6, 1);
  loader_.load({&load, 1}, nullptr);
  loader_.load({}, nullptr);
  stream_.synchronize();
  for (int target = 0; target < num_targets_; ++target) EXPECT_TRUE(has_target(load, target));
}

TEST_F(AdapterLoaderTest, ALoadThatNobodyWaitedForIsThereBeforeTheNext) {
  const AdapterLoad first = make_load(4, 1);
  const AdapterLoad second = make_load(5, 2);
  loader_.load({&first, 1}, nullptr);
  loader_.load({&second, 1}, nullptr);
  loader_.wait_for_all();
  stream_.synchronize();
  for (int target = 0; target < num_targets_; ++target) {
    EXPECT_TRUE(has_target(first, target));
    EXPECT_TRUE(has_target(second, target));
  }
}

}  // namespace
}  // namespace quire
