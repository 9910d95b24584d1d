// Where a model's weights come from: names to tensors.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace quire {

// Thread: the one that loads the model.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual bool contains(const std::string& name) const = 0;
  // Borrows a tensor until release() or the end of the source; its bytes are read-only and may be
  // unaligned for their type.  A tensor may be taken more than once (tied weights).
  // Throws LoadError naming the tensor if it is missing, of another shape, or no F32, F16 or BF16.
  virtual TensorView take(const std::string& name, const Shape& shape) = 0;
  // The caller will not read `view`, which take() returned, again.
  virtual void release(const TensorView& view) = 0;
  // Throws LoadError naming the tensors that nobody took, but for those that end in one of
  // `ignored_suffixes`.
  virtual void check_all_taken(std::span<const std::string_view> ignored_suffixes) const = 0;
};

}  // namespace quire
