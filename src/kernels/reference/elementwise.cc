#include <cmath>
#include <cstring>
#include <numbers>

#include "kernels/element.h"
#include "kernels/reference/reference.h"

namespace quire::reference {
namespace {

float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::kSilu:
      return x / (1.0F + std::exp(-x));
    case Activation::kGelu:  // x * Phi(x), with erfc for the sake of the left tail
      return 0.5F * x * std::erfc(-x / std::numbers::sqrt2_v<float>);
    case Activation::kGeluTanh: {
      const float sqrt_2_over_pi = std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;
      return 0.5F * x * (1.0F + std::tanh(sqrt_2_over_pi * (x + 0.044715F * x * x * x)));
    }
    case Activation::kRelu:
      return x > 0.0F ? x : 0.0F;
  }
  CHECK(false, "activation ", static_cast<int>(activation));
  return 0.0F;
}

}  // namespace

void rms_norm(Stream&, const RmsNormArgs& args) {
  const int64_t hidden = args.weight.shape[0];
  const int64_t groups = args.x.shape.num_elements() / (args.x.rows() * hidden);
  const float* weight = args.weight.as<float>();
  for (int64_t i = 0; i < args.x.rows() * groups; ++i) {
    const float* x = args.x.row<float>(i / groups) + i % groups * hidden;
    float* out = args.out.row<float>(i / groups) + i % groups * hidden;
    double sum = 0.0;
    for (int64_t j = 0; j < hidden; ++j) sum += static_cast<double>(x[j]) * x[j];
    const float mean = static_cast<float>(sum / static_cast<double>(hidden));
    const float scale = 1.0F / std::sqrt(mean + args.eps);
    for (int64_t j = 0; j < hidden; ++j) out[j] = x[j] * scale * (weight[j] + args.weight_offset);
  }
}

void layer_norm(Stream&, const LayerNormArgs& args) {
  const int64_t hidden = args.weight.shape[0];
  const float* weight = args.weight.as<float>();
  const float* bias = args.bias.as<float>();
  for (int64_t i = 0; i < args.x.rows(); ++i) {
    const float* x = args.x.row<float>(i);
    float* out = args.out.row<float>(i);
    double sum = 0.0;
    for (int64_t j = 0; j < hidden; ++j) sum += x[j];
    const double mean = sum / static_cast<double>(hidden);
    double squares = 0.0;
    for (int64_t j = 0; j < hidden; ++j) squares += (x[j] - mean) * (x[j] - mean);
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(hidden) + args.eps);
    for (int64_t j = 0; j < hidden; ++j) {
      out[j] = static_cast<float>((x[j] - mean) * scale) * weight[j] + (bias ? bias[j] : 0.0F);
    }
  }
}

void gated_activation(Stream&, const GatedActivationArgs& args) {
  const int64_t size = args.out.shape[1];
  for (int64_t i = 0; i < args.x.rows(); ++i) {
    const float* x = args.x.row<float>(i);
    float* out = args.out.row<float>(i);
    for (int64_t j = 0; j < size; ++j) out[j] = activate(args.activation, x[j]) * x[size + j];
  }
}

void activation(Stream&, const ActivationArgs& args) {
  for (int64_t i = 0; i < args.x.rows(); ++i) {
    const float* x = args.x.row<float>(i);
    float* out = args.out.row<float>(i);
    for (int64_t j = 0; j < args.x.shape[1]; ++j) out[j] = activate(args.activation, x[j]);
  }
}

void add(Stream&, const AddArgs& args) {
  for (int64_t i = 0; i < args.x.rows(); ++i) {
    for (int64_t j = 0; j < args.x.shape[1]; ++j) {
      args.out.row<float>(i)[j] += args.x.row<float>(i)[j];
    }
  }
}

void softcap(Stream&, const SoftcapArgs& args) {
  for (int64_t i = 0; i < args.x.rows(); ++i) {
    float* x = args.x.row<float>(i);
    for (int64_t j = 0; j < args.x.shape[1]; ++j) x[j] = args.cap * std::tanh(x[j] / args.cap);
  }
}

void embedding(Stream&, const EmbeddingArgs& args) {
  const int64_t hidden = args.table.shape[1];
  for (int64_t i = 0; i < args.ids.rows(); ++i) {
    const int32_t id = args.ids.as<int32_t>()[i];
    CHECK(id >= 0 && id < args.table.rows(), "id ", id, " of ", args.table.rows());
    float* out = args.out.row<float>(i);
    for (int64_t j = 0; j < hidden; ++j) {
      const float value =
          load_element(args.table.dtype, args.table.data, id * args.table.row_stride + j);
      out[j] = value * args.scale + (args.accumulate ? out[j] : 0.0F);
    }
  }
}

void gather_rows(Stream&, const GatherRowsArgs& args) {
  for (int64_t i = 0; i < args.indices.rows(); ++i) {
    const int32_t index = args.indices.as<int32_t>()[i];
    CHECK(index >= 0 && index < args.x.rows(), "index ", index, " of ", args.x.rows());
    std::memcpy(args.out.row<float>(i), args.x.row<float>(index),
                static_cast<size_t>(args.x.shape[1]) * sizeof(float));
  }
}

void rope(Stream&, const RopeArgs& args) {
  const int half = args.rotary_dim / 2;
  const int64_t num_heads = args.x.shape[1] / args.head_dim;
  for (int64_t i = 0; i < args.x.rows(); ++i) {
    const int32_t position = args.positions.as<int32_t>()[i];
    CHECK(position >= 0 && position < args.cos_sin.rows(), "position ", position);
    const float* cosines = args.cos_sin.row<float>(position);
    const float* sines = cosines + half;
    for (int64_t head = 0; head < num_heads; ++head) {
      float* x = args.x.row<float>(i) + head * args.head_dim;
      for (int j = 0; j < half; ++j) {
        float& first = x[args.interleaved ? 2 * j : j];
        float& second = x[args.interleaved ? 2 * j + 1 : j + half];
        const float a = first;
        const float b = second;
        first = a * cosines[j] - b * sines[j];
        second = b * cosines[j] + a * sines[j];
      }
    }
  }
}

}  // namespace quire::reference
