#include "tensor/dtype.h"

#include "base/check.h"

namespace quire {
namespace {

struct Name {
  std::string_view name;
  DType dtype;
};
constexpr Name kNames[] = {
    {"float32", DType::kF32}, {"float", DType::kF32},     {"float16", DType::kF16},
    {"half", DType::kF16},    {"bfloat16", DType::kBF16}, {"int32", DType::kI32},
};

}  // namespace

const char* to_string(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "float32";
    case DType::kF16:
      return "float16";
    case DType::kBF16:
      return "bfloat16";
    case DType::kI32:
      return "int32";
  }
  CHECK(false, "dtype ", static_cast<int>(dtype));
  return "";
}

std::optional<DType> dtype_from_string(std::string_view name) {
  for (const Name& entry : kNames) {
    if (entry.name == name) return entry.dtype;
  }
  return std::nullopt;
}

}  // namespace quire
