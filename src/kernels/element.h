// Reads and writes elements whose type is known only at run time.
#pragma once

#include "base/check.h"
#include "tensor/float16.h"
#include "tensor/tensor.h"

namespace quire {

inline float load_element(DType dtype, const void* data, int64_t i) {
  switch (dtype) {
    case DType::kF32:
      return static_cast<const float*>(data)[i];
    case DType::kF16:
      return f16_to_float(static_cast<const uint16_t*>(data)[i]);
    case DType::kBF16:
      return bf16_to_float(static_cast<const uint16_t*>(data)[i]);
    case DType::kI32:
      break;
  }
  CHECK(false, "not a floating-point type: ", to_string(dtype));
  return 0.0F;
}

inline void store_element(DType dtype, void* data, int64_t i, float value) {
  switch (dtype) {
    case DType::kF32:
      static_cast<float*>(data)[i] = value;
      return;
    case DType::kF16:
      static_cast<uint16_t*>(data)[i] = float_to_f16(value);
      return;
    case DType::kBF16:
      static_cast<uint16_t*>(data)[i] = float_to_bf16(value);
      return;
    case DType::kI32:
      break;
  }
  CHECK(false, "not a floating-point type: ", to_string(dtype));
}

}  // namespace quire
