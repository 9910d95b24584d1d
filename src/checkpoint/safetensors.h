// The safetensors file format: an 8-byte little-endian header length, a JSON header, then the
// tensors. Source: https://github.com/huggingface/safetensors (README, "Format").
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/mapped_file.h"
#include "tensor/tensor.h"

namespace quire {

struct SafetensorsEntry {
  std::string dtype;  // the format's name: "F32", "BF16", "I64", ...
  std::vector<int64_t> shape;
  int64_t offset = 0;  // from the start of the file
  int64_t num_bytes = 0;
};
using SafetensorsEntries = std::map<std::string, SafetensorsEntry>;

// The entries of a whole file given as bytes, all checked: they fill the file after the header
// without gap or overlap, and each has the size of its shape and type. Throws LoadError naming
// `path` and the tensor.
SafetensorsEntries parse_safetensors(const std::string& path, std::span<const std::byte> bytes);

class SafetensorsFile {
 public:
  // Throws LoadError as MappedFile and parse_safetensors do.
  explicit SafetensorsFile(std::string path);

  const std::string& path() const { return file_.path(); }
  const SafetensorsEntries& entries() const { return entries_; }
  // A view of the mapped bytes; valid as long as this file.  The bytes may be unaligned for their
  // type. Throws LoadError if the tensor is missing, its type is not F32, F16, BF16 or I32, or its
  // rank exceeds kMaxRank.
  TensorView view(const std::string& name) const;
  void release(const TensorView& view) const;

 private:
  MappedFile file_;
  SafetensorsEntries entries_;
};

// "[2, 3]", for messages.
std::string shape_to_string(std::span<const int64_t> shape);

}  // namespace quire
