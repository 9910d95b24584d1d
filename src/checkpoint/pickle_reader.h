// The pickle of a dictionary of tensors, read without executing anything.
// Source: Python's pickletools (the instructions), PyTorch's torch/_utils.py (_rebuild_tensor_v2).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace quire {

// A tensor as the pickle describes it; nothing of it is checked against the file.
struct PickledTensor {
  std::string storage_type;  // "torch.FloatStorage"
  std::string storage_key;   // names the storage's file
  int64_t storage_elements = 0;
  int64_t offset = 0;  // in elements
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;  // in elements, as many as sizes
};

// Throws LoadError that begins with `where` and names the global, the instruction or the value that
// is not understood.
std::map<std::string, PickledTensor> read_pickled_tensors(const std::string& where,
                                                          std::span<const std::byte> pickle);

}  // namespace quire
