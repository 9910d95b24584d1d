#include "checkpoint/checkpoint_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "checkpoint/dummy_weights.h"
#include "support/safetensors_bytes.h"
#include "support/temp_dir.h"
#include "tensor/float16.h"

namespace quire {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

StoredTensor f32_tensor(std::vector<int64_t> shape) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  return {"F32", std::move(shape), std::string(static_cast<size_t>(count) * 4, '\x01')};
}

// Two shards and their index, any of which a test may replace.
class Sharded : public ::testing::Test {
 protected:
  Sharded() {
    directory.write("one.safetensors",
                    safetensors_bytes({{"a", f32_tensor({2})}, {"b", f32_tensor({3})}}));
    directory.write("two.safetensors", safetensors_bytes({{"c", f32_tensor({4})}}));
    write_index(
        R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors","c":"two.safetensors"}})");
  }
  void write_index(const std::string& text) {
    directory.write("model.safetensors.index.json", text);
  }
  std::string error() {
    return load_error_of([&] { CheckpointWeights{directory.path()}; });
  }
  TempDir directory;
};

TEST_F(Sharded, GivesTensorsOfEveryShard) {
  CheckpointWeights weights(directory.path());
  EXPECT_TRUE(weights.contains("a"));
  EXPECT_FALSE(weights.contains("d"));
  EXPECT_EQ(weights.take("c", Shape{4}).shape, Shape{4});
  weights.release(weights.take("a", Shape{2}));
  EXPECT_EQ(weights.take("a", Shape{2}).as<char>()[0], '\x01');
}

TEST_F(Sharded, NamesMissingTensorAndWrongShape) {
  CheckpointWeights weights(directory.path());
  EXPECT_THAT(load_error_of([&] { weights.take("d", Shape{4}); }),
              AllOf(HasSubstr("'d'"), HasSubstr("missing")));
  EXPECT_THAT(
      load_error_of([&] { weights.take("b", Shape{1, 3}); }),
      AllOf(HasSubstr("one.safetensors"), HasSubstr("'b'"), HasSubstr("[3]"), HasSubstr("[1, 3]")));
}

TEST_F(Sharded, ListsLeftOverTensorsButIgnoredOnes) {
  CheckpointWeights weights(directory.path());
  weights.take("a", Shape{2});
  EXPECT_THAT(load_error_of([&] { weights.check_all_taken({}); }),
              AllOf(HasSubstr("2 tensors"), HasSubstr("b, c"), Not(HasSubstr("a,"))));
  const std::string_view ignored[] = {"b", "c"};
  EXPECT_EQ(load_error_of([&] { weights.check_all_taken(ignored); }), "");
}

TEST_F(Sharded, RefusesBadIndex) {
  write_index("{");
  EXPECT_THAT(error(), AllOf(HasSubstr("index.json"), HasSubstr("not valid JSON")));
  write_index("[]");
  EXPECT_THAT(error(), HasSubstr("weight_map"));
  write_index(R"({"weight_map":{"a":1}})");
  EXPECT_THAT(error(), HasSubstr("'a'"));
  write_index(R"({"weight_map":{"a":"../one.safetensors"}})");
  EXPECT_THAT(error(), HasSubstr("not a plain file name"));
  write_index(R"({"weight_map":{"a":"three.safetensors"}})");
  EXPECT_THAT(error(), HasSubstr("three.safetensors"));
  write_index(R"({"weight_map":{"a":"two.safetensors","c":"two.safetensors"}})");
  EXPECT_THAT(error(), AllOf(HasSubstr("'a'"), HasSubstr("not in two.safetensors")));
  write_index(R"({"weight_map":{"a":"one.safetensors","c":"two.safetensors"}})");
  EXPECT_THAT(error(), AllOf(HasSubstr("'b'"), HasSubstr("not in the index")));
}

TEST_F(Sharded, RefusesATensorThatTwoShardsHold) {
  directory.write("two.safetensors",
                  safetensors_bytes({{"a", f32_tensor({2})}, {"c", f32_tensor({4})}}));
  EXPECT_THAT(error(),
              AllOf(HasSubstr("'a'"), HasSubstr("one.safetensors"), HasSubstr("two.safetensors")));
}

TEST(CheckpointWeights, SaysWhatIsSupportedWhereNothingIsFound) {
  const TempDir directory;
  directory.write("pytorch_model.bin", "x");
  EXPECT_THAT(load_error_of([&] { CheckpointWeights{directory.path()}; }),
              HasSubstr("model.safetensors"));
}

TEST(DummyWeights, AreFiniteAndDependOnNameAndSeedOnly) {
  ThreadPool one({.num_threads = 1, .pin_threads = false});
  ThreadPool two({.num_threads = 2, .pin_threads = false});
  DummyWeights a(one, {.dtype = DType::kBF16, .seed = 1});
  DummyWeights b(two, {.dtype = DType::kBF16, .seed = 1});
  DummyWeights c(two, {.dtype = DType::kBF16, .seed = 2});
  const Shape shape{100, 300};
  const auto values = [&](DummyWeights& weights, const std::string& name) {
    const TensorView view = weights.take(name, shape);
    std::vector<uint16_t> copy(view.as<uint16_t>(), view.as<uint16_t>() + shape.num_elements());
    weights.release(view);
    return copy;
  };
  const auto reference = values(a, "x.weight");
  EXPECT_EQ(values(b, "x.weight"), reference);
  EXPECT_NE(values(b, "y.weight"), reference);
  EXPECT_NE(values(c, "x.weight"), reference);
  double sum_of_squares = 0.0;
  for (uint16_t bits : reference) sum_of_squares += std::pow(bf16_to_float(bits), 2);
  EXPECT_NEAR(sum_of_squares / static_cast<double>(reference.size()), 1.0 / 300.0, 1e-4);
}

}  // namespace
}  // namespace quire
