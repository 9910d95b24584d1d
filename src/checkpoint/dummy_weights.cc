#include "checkpoint/dummy_weights.h"

#include <cmath>
#include <utility>

#include "tensor/float16.h"

namespace quire {
namespace {

struct Distribution {
  float mean = 0.0F;
  float radius = 0.0F;
};

Distribution distribution_of(const std::string& name, const Shape& shape) {
  if (shape.rank >= 2) return {0.0F, std::sqrt(3.0F / static_cast<float>(shape[shape.rank - 1]))};
  return name.ends_with("bias") ? Distribution{0.0F, 0.02F} : Distribution{1.0F, 0.1F};
}

// FNV-1a, so that the values of a name do not depend on the standard library.
uint64_t hash_name(const std::string& name, uint64_t seed) {
  uint64_t hash = 0xcbf29ce484222325ULL ^ seed;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return hash;
}

// Uniform in [-1, 1) from a counter: the 32-bit finalizer of MurmurHash3.
float uniform(uint32_t counter) {
  counter ^= counter >> 16;
  counter *= 0x85ebca6bU;
  counter ^= counter >> 13;
  counter *= 0xc2b2ae35U;
  counter ^= counter >> 16;
  return static_cast<float>(static_cast<int32_t>(counter)) * 0x1p-31F;
}

template <typename T, typename Convert>
void fill(T* out, int64_t count, uint32_t first_counter, Convert convert) {
  for (int64_t i = 0; i < count; ++i)
    out[i] = convert(uniform(first_counter + static_cast<uint32_t>(i)));
}

}  // namespace

TensorView DummyWeights::take(const std::string& name, const Shape& shape) {
  Tensor tensor(shape, options_.dtype);
  const TensorView view = tensor.view();
  const Distribution d = distribution_of(name, shape);
  const auto key = static_cast<uint32_t>(hash_name(name, options_.seed));
  pool_.parallel_for(shape.num_elements(), 4096, [&](int64_t begin, int64_t end) {
    const auto counter = key + static_cast<uint32_t>(begin);
    const int64_t count = end - begin;
    const auto value = [d](float u) { return d.mean + d.radius * u; };
    if (view.dtype == DType::kF32) {
      fill(view.as<float>() + begin, count, counter, value);
    } else if (view.dtype == DType::kBF16) {
      fill(view.as<uint16_t>() + begin, count, counter,
           [&](float u) { return float_to_bf16(value(u)); });
    } else {
      fill(view.as<uint16_t>() + begin, count, counter,
           [&](float u) { return float_to_f16(value(u)); });
    }
  });
  tensors_.emplace(view.data, std::move(tensor));
  return view;
}

}  // namespace quire
