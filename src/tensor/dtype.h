// Element types of weights, activations and the KV cache.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace quire {

enum class DType : uint8_t { kF32, kF16, kBF16, kI32 };

constexpr int64_t size_of(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kI32 ? 4 : 2;
}
// "float32", "float16", "bfloat16", "int32": the names of HF's torch_dtype.
const char* to_string(DType dtype);
// From HF's torch_dtype or vLLM's --dtype ("float", "half" and "float32", ... ); none if unknown.
std::optional<DType> dtype_from_string(std::string_view name);

}  // namespace quire
