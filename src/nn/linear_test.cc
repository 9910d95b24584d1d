#include "nn/linear.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <numeric>

#include "tensor/float16.h"

namespace quire {
namespace {

// Weights from memory, and whether each has been given back.
class FakeWeights : public WeightSource {
 public:
  void add(const std::string& name, const Shape& shape, float first) {
    Tensor tensor(shape, DType::kF32);
    std::iota(tensor.view().as<float>(), tensor.view().as<float>() + shape.num_elements(), first);
    tensors_[name] = std::move(tensor);
  }
  bool contains(const std::string& name) const override { return tensors_.contains(name); }
  TensorView take(const std::string& name, const Shape& shape) override {
    const TensorView view = tensors_.at(name).view();
    EXPECT_EQ(view.shape, shape) << name;
    ++num_borrowed;
    return view;
  }
  void release(const TensorView&) override { --num_borrowed; }
  void check_all_taken(std::span<const std::string_view>) const override {}
  int num_borrowed = 0;

 private:
  std::map<std::string, Tensor> tensors_;
};

class LinearTest : public ::testing::Test {
 protected:
  // Rows of the packed weight, read off by multiplying with unit vectors.
  std::vector<float> outputs(const Linear& linear, std::vector<float> x) {
    std::vector<float> out(static_cast<size_t>(linear.out_features()));
    const ForwardBatch batch;
    ForwardContext context{.kernels = kernels, .stream = stream, .batch = batch};
    linear.forward(context, TensorView(x.data(), Shape{1, linear.in_features()}, DType::kF32),
                   TensorView(out.data(), Shape{1, linear.out_features()}, DType::kF32));
    return out;
  }
  BuildContext build(DType dtype = DType::kF32) {
    return {.kernels = kernels,
            .stream = stream,
            .weights = weights,
            .dtype = dtype,
            .max_positions = 1,
            .weight_bytes = weight_bytes,
            .lora_targets = lora_targets,
            .prefix = "m"};
  }
  ThreadPool pool{{.num_threads = 2, .pin_threads = false}};
  Stream stream{pool};
  const KernelTable& kernels = *all_tables().front();
  FakeWeights weights;
  int64_t weight_bytes = 0;
  std::vector<LoraTarget> lora_targets;
};

TEST_F(LinearTest, StacksPartsAndBiases) {
  weights.add("m.q.weight", Shape{2, 3}, 0.0F);
  weights.add("m.k.weight", Shape{1, 3}, 10.0F);
  weights.add("m.q.bias", Shape{2}, 100.0F);
  weights.add("m.k.bias", Shape{1}, 200.0F);
  const Linear linear(build(), {.in_features = 3, .parts = {{"q", 2}, {"k", 1}}, .bias = true});
  EXPECT_EQ(outputs(linear, {0, 1, 0}), (std::vector<float>{101, 105, 211}));
  EXPECT_EQ(weights.num_borrowed, 0);
  EXPECT_GE(weight_bytes, 12 * 4);
}

TEST_F(LinearTest, TransposesConv1d) {
  weights.add("m.c.weight", Shape{3, 2}, 0.0F);
  const Linear linear(build(), {.in_features = 3, .parts = {{"c", 2}}, .transposed = true});
  EXPECT_EQ(outputs(linear, {1, 0, 0}), (std::vector<float>{0, 1}));
  EXPECT_EQ(outputs(linear, {0, 0, 1}), (std::vector<float>{4, 5}));
}

TEST_F(LinearTest, ReordersRowsOfWeightAndBias) {
  weights.add("m.c.weight", Shape{3, 1}, 0.0F);
  weights.add("m.c.bias", Shape{3}, 10.0F);
  const Linear linear(
      build(), {.in_features = 1, .parts = {{"c", 3}}, .bias = true, .row_order = {2, 0, 1}});
  EXPECT_EQ(outputs(linear, {1}), (std::vector<float>{14, 10, 12}));
}

TEST(Convert, ConvertsBetweenAllTypesAtAnyAlignment) {
  ThreadPool pool({.num_threads = 2, .pin_threads = false});
  const std::vector<float> values = {0.5F, -3.0F, 1.25F, 64.0F, 0.0F, -0.125F};
  std::vector<std::byte> unaligned(values.size() * 4 + 1);
  std::memcpy(unaligned.data() + 1, values.data(), values.size() * 4);
  const TensorView source(unaligned.data() + 1, Shape{2, 3}, DType::kF32);
  for (DType middle : {DType::kF32, DType::kF16, DType::kBF16}) {
    const Tensor half(Shape{2, 3}, middle);
    const Tensor back(Shape{2, 3}, DType::kF32);
    convert(pool, {.from = source, .to = half.view()});
    convert(pool, {.from = half.view(), .to = back.view()});
    EXPECT_EQ(std::vector<float>(back.view().as<float>(), back.view().as<float>() + 6), values)
        << to_string(middle);
  }
}

}  // namespace
}  // namespace quire
