// Building and changing safetensors files in tests.
#pragma once

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace quire {

struct StoredTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};
using StoredTensors = std::map<std::string, StoredTensor>;

inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

// A file of this header, verbatim, and data.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  const uint64_t header_bytes = header.size();
  std::memcpy(bytes.data(), &header_bytes, 8);
  return bytes + header + data;
}

inline std::string safetensors_bytes(const StoredTensors& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const size_t begin = data.size();
    data += tensor.bytes;
    header[name] = {
        {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  return safetensors_bytes(header.dump(), data);
}

inline SafetensorsEntries parse_safetensors_string(const std::string& bytes) {
  return parse_safetensors("test.safetensors", std::as_bytes(std::span(bytes)));
}

inline StoredTensors read_safetensors(const std::string& path) {
  const std::string bytes = read_bytes(path);
  StoredTensors tensors;
  for (const auto& [name, entry] : parse_safetensors_string(bytes)) {
    tensors[name] = {
        entry.dtype, entry.shape,
        bytes.substr(static_cast<size_t>(entry.offset), static_cast<size_t>(entry.num_bytes))};
  }
  return tensors;
}

// The message of the LoadError that `action` throws; empty if it throws none.
template <typename Action>
std::string load_error_of(Action action) {
  try {
    action();
  } catch (const LoadError& error) {
    return error.what();
  }
  return "";
}

}  // namespace quire
