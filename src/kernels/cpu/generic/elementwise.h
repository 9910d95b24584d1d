// Norms, activations, sums, look-ups and rope: one pass over rows, each row by one thread.
#pragma once

#include <cmath>
#include <cstring>
#include <numbers>

#include "kernels/activation.h"
#include "kernels/cpu/generic/math.h"
#include "kernels/cpu/rows.h"
#include "kernels/embedding.h"
#include "kernels/norm.h"
#include "kernels/rope.h"

namespace quire {

template <class V>
struct Elementwise {
  using F = typename V::F;
  using M = Math<V>;
  static constexpr int kLanes = V::kLanes;

  // Calls body(i, n) for vectors starting at i of which n lanes are inside [0, size).
  template <typename Body>
  static void for_vectors(int64_t size, const Body& body) {
    int64_t i = 0;
    for (; i + kLanes <= size; i += kLanes) body(i, kLanes);
    if (i < size) body(i, static_cast<int>(size - i));
  }

  static void rms_norm_row(const RmsNormArgs& args, const float* x, float* out, int64_t hidden) {
    const float* weight = args.weight.as<float>();
    F sum = V::zero();
    for_vectors(hidden, [&](int64_t i, int n) {
      const F value = V::load_n(x + i, n);
      sum = V::fma(value, value, sum);
    });
    const float mean = V::reduce_add(sum) / static_cast<float>(hidden);
    const F scale = V::set1(1.0F / std::sqrt(mean + args.eps));
    const F offset = V::set1(args.weight_offset);
    for_vectors(hidden, [&](int64_t i, int n) {
      const F value = V::mul(V::load_n(x + i, n), scale);
      V::store_n(out + i, V::mul(value, V::add(V::load_n(weight + i, n), offset)), n);
    });
  }

  static void rms_norm(Stream& stream, const RmsNormArgs& args) {
    const int64_t hidden = args.weight.shape[0];
    if (args.x.rows() == 0) return;
    const int64_t groups = args.x.shape.num_elements() / (args.x.rows() * hidden);
    for_rows(stream, args.x.rows(), groups * hidden, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t group = 0; group < groups; ++group) {
          rms_norm_row(args, args.x.row<float>(row) + group * hidden,
                       args.out.row<float>(row) + group * hidden, hidden);
        }
      }
    });
  }

  static void layer_norm_row(const LayerNormArgs& args, const float* x, float* out) {
    const int64_t hidden = args.weight.shape[0];
    const float* weight = args.weight.as<float>();
    const float* bias = args.bias.as<float>();
    F sum = V::zero();
    for_vectors(hidden, [&](int64_t i, int n) { sum = V::add(sum, V::load_n(x + i, n)); });
    const F mean = V::set1(V::reduce_add(sum) / static_cast<float>(hidden));
    F squares = V::zero();
    for_vectors(hidden, [&](int64_t i, int n) {
      const F deviation =
          V::select(V::mask_between(0, n), V::sub(V::load_n(x + i, n), mean), V::zero());
      squares = V::fma(deviation, deviation, squares);
    });
    const float variance = V::reduce_add(squares) / static_cast<float>(hidden);
    const F scale = V::set1(1.0F / std::sqrt(variance + args.eps));
    for_vectors(hidden, [&](int64_t i, int n) {
      const F value = V::mul(V::sub(V::load_n(x + i, n), mean), scale);
      const F shift = bias == nullptr ? V::zero() : V::load_n(bias + i, n);
      V::store_n(out + i, V::fma(value, V::load_n(weight + i, n), shift), n);
    });
  }

  static void layer_norm(Stream& stream, const LayerNormArgs& args) {
    for_rows(stream, args.x.rows(), args.weight.shape[0], [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        layer_norm_row(args, args.x.row<float>(row), args.out.row<float>(row));
      }
    });
  }

  static F silu(F x) { return V::div(x, V::add(V::set1(1.0F), M::exp(V::sub(V::zero(), x)))); }
  static F gelu(F x) {
    const F scaled = V::mul(x, V::set1(-1.0F / std::numbers::sqrt2_v<float>));
    return V::mul(V::mul(V::set1(0.5F), x), M::erfc(scaled));
  }
  // 0.5 x (1 + tanh u) = x * sigmoid(2u), which does not cancel for negative u.
  static F gelu_tanh(F x) {
    constexpr float kTwoSqrt2OverPi =
        2.0F * std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;
    const F cube = V::mul(V::mul(x, x), x);
    const F u = V::mul(V::set1(-kTwoSqrt2OverPi), V::fma(V::set1(0.044715F), cube, x));
    return V::div(x, V::add(V::set1(1.0F), M::exp(u)));
  }
  static F relu(F x) { return V::select(V::less(V::zero(), x), x, V::zero()); }

  // Calls body with the function chosen by `activation`, outside the loops over elements.
  template <typename Body>
  static void with_activation(Activation activation, const Body& body) {
    switch (activation) {
      case Activation::kSilu:
        return body([](F x) { return silu(x); });
      case Activation::kGelu:
        return body([](F x) { return gelu(x); });
      case Activation::kGeluTanh:
        return body([](F x) { return gelu_tanh(x); });
      case Activation::kRelu:
        return body([](F x) { return relu(x); });
    }
    CHECK(false, "activation ", static_cast<int>(activation));
  }

  static void gated_activation(Stream& stream, const GatedActivationArgs& args) {
    const int64_t size = args.out.shape[1];
    CHECK(args.x.shape[1] == 2 * size, "gate and up are ", args.x.shape[1], " wide");
    with_activation(args.activation, [&](auto act) {
      for_rows(stream, args.x.rows(), 2 * size, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; ++row) {
          const float* gate = args.x.template row<float>(row);
          float* out = args.out.template row<float>(row);
          for_vectors(size, [&](int64_t i, int n) {
            const F up = V::load_n(gate + size + i, n);
            V::store_n(out + i, V::mul(act(V::load_n(gate + i, n)), up), n);
          });
        }
      });
    });
  }

  // out[row][i] = function(x[row][i], out[row][i])
  template <typename Function>
  static void map(Stream& stream, const TensorView& x, const TensorView& out,
                  const Function& function) {
    const int64_t size = x.shape[1];
    for_rows(stream, x.rows(), size, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* from = x.row<float>(row);
        float* to = out.row<float>(row);
        for_vectors(size, [&](int64_t i, int n) {
          V::store_n(to + i, function(V::load_n(from + i, n), V::load_n(to + i, n)), n);
        });
      }
    });
  }

  static void activation(Stream& stream, const ActivationArgs& args) {
    with_activation(args.activation, [&](auto act) {
      map(stream, args.x, args.out, [&](F x, F) { return act(x); });
    });
  }
  static void add(Stream& stream, const AddArgs& args) {
    map(stream, args.x, args.out, [](F x, F out) { return V::add(out, x); });
  }
  static void softcap(Stream& stream, const SoftcapArgs& args) {
    const F cap = V::set1(args.cap);
    const F inverse = V::set1(1.0F / args.cap);
    map(stream, args.x, args.x, [&](F x, F) { return V::mul(cap, M::tanh(V::mul(x, inverse))); });
  }

  static F load_as_float(DType dtype, const std::byte* data, int64_t i, int n) {
    alignas(64) uint16_t padded[kLanes] = {};
    if (dtype == DType::kF32) return V::load_n(reinterpret_cast<const float*>(data) + i, n);
    const void* from = reinterpret_cast<const uint16_t*>(data) + i;
    if (n < kLanes) from = std::memcpy(padded, from, static_cast<size_t>(n) * sizeof(uint16_t));
    return dtype == DType::kBF16 ? V::load_bf16(from) : V::load_f16(from);
  }

  static void embedding(Stream& stream, const EmbeddingArgs& args) {
    const TensorView& table = args.table;
    const int64_t hidden = table.shape[1];
    const F scale = V::set1(args.scale);
    for_rows(stream, args.ids.rows(), hidden, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int32_t id = args.ids.as<int32_t>()[row];
        CHECK(id >= 0 && id < table.rows(), "id ", id, " of ", table.rows());
        const std::byte* from =
            table.as<const std::byte>() + id * table.row_stride * size_of(table.dtype);
        float* out = args.out.row<float>(row);
        for_vectors(hidden, [&](int64_t i, int n) {
          const F value = V::mul(load_as_float(table.dtype, from, i, n), scale);
          V::store_n(out + i, args.accumulate ? V::add(value, V::load_n(out + i, n)) : value, n);
        });
      }
    });
  }

  static void gather_rows(Stream& stream, const GatherRowsArgs& args) {
    const int64_t hidden = args.x.shape[1];
    for_rows(stream, args.indices.rows(), hidden, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int32_t index = args.indices.as<int32_t>()[row];
        CHECK(index >= 0 && index < args.x.rows(), "index ", index, " of ", args.x.rows());
        std::memcpy(args.out.row<float>(row), args.x.row<float>(index),
                    static_cast<size_t>(hidden) * sizeof(float));
      }
    });
  }

  // One head; pairs (i, i + half), as in rotate_half.
  static void rope_head(float* x, const float* cos_sin, int half) {
    for_vectors(half, [&](int64_t i, int n) {
      const F c = V::load_n(cos_sin + i, n);
      const F s = V::load_n(cos_sin + half + i, n);
      const F a = V::load_n(x + i, n);
      const F b = V::load_n(x + half + i, n);
      V::store_n(x + i, V::sub(V::mul(a, c), V::mul(b, s)), n);
      V::store_n(x + half + i, V::add(V::mul(b, c), V::mul(a, s)), n);
    });
  }
  // One head; pairs (2i, 2i + 1).
  static void rope_head_interleaved(float* x, const float* cos_sin, int half) {
    for (int i = 0; i < half; ++i) {
      const float a = x[2 * i];
      const float b = x[2 * i + 1];
      x[2 * i] = a * cos_sin[i] - b * cos_sin[half + i];
      x[2 * i + 1] = b * cos_sin[i] + a * cos_sin[half + i];
    }
  }

  static void rope(Stream& stream, const RopeArgs& args) {
    const int half = args.rotary_dim / 2;
    CHECK(args.rotary_dim % 2 == 0 && args.rotary_dim <= args.head_dim, "rotary_dim ",
          args.rotary_dim);
    for_rows(stream, args.x.rows(), args.x.shape[1], [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int32_t position = args.positions.as<int32_t>()[row];
        CHECK(position >= 0 && position < args.cos_sin.rows(), "position ", position);
        const float* cos_sin = args.cos_sin.row<float>(position);
        float* x = args.x.row<float>(row);
        for (float* head = x; head < x + args.x.shape[1]; head += args.head_dim) {
          if (args.interleaved) {
            rope_head_interleaved(head, cos_sin, half);
          } else {
            rope_head(head, cos_sin, half);
          }
        }
      }
    });
  }
};

}  // namespace quire
