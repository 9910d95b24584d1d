// The MLP's activation functions, for kernels.
#pragma once

#include "kernels/activation.h"

namespace quire {

// Activations of 16 bits need no more than the fast forms, which are right to 2^-21 or so.
template <typename T>
__device__ inline float exponential(float x) {
  if constexpr (sizeof(T) == 2) return __expf(x);
  return expf(x);
}

template <typename T>
__device__ inline float quotient(float a, float b) {
  if constexpr (sizeof(T) == 2) return __fdividef(a, b);
  return a / b;
}

template <typename T, int kSize>
__device__ inline void activate(Activation activation, float (&x)[kSize]) {
  constexpr float kSqrtHalf = 0.70710678F;
  constexpr float kTwoSqrt2OverPi = 1.59576912F;
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const float value = x[i];
    switch (activation) {
      case Activation::kSilu:
        x[i] = quotient<T>(value, 1.0F + exponential<T>(-value));
        break;
      case Activation::kGelu:  // x * Phi(x), with erfc for the sake of the left tail
        x[i] = 0.5F * value * erfcf(-value * kSqrtHalf);
        break;
      case Activation::kGeluTanh: {
        // 0.5 x (1 + tanh u) = x * sigmoid(2u), which does not cancel for negative u.
        const float twice_u = kTwoSqrt2OverPi * (value + 0.044715F * value * value * value);
        x[i] = quotient<T>(value, 1.0F + exponential<T>(-twice_u));
        break;
      }
      case Activation::kRelu:
        x[i] = value > 0.0F ? value : 0.0F;
        break;
    }
  }
}

}  // namespace quire
