#include "checkpoint/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace quire {
namespace {

using Json = nlohmann::json;

constexpr int64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr int kMaxDepth = 3;                       // header, entry, list

struct ElementType {
  std::string_view name;
  int64_t num_bytes;
  std::optional<DType> dtype;  // none: may be present, cannot be used as a weight
};
constexpr ElementType kElementTypes[] = {
    {"F32", 4, DType::kF32},          {"F16", 2, DType::kF16},
    {"BF16", 2, DType::kBF16},        {"I32", 4, DType::kI32},
    {"F64", 8, std::nullopt},         {"I64", 8, std::nullopt},
    {"U64", 8, std::nullopt},         {"U32", 4, std::nullopt},
    {"I16", 2, std::nullopt},         {"U16", 2, std::nullopt},
    {"I8", 1, std::nullopt},          {"U8", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},        {"F8_E4M3", 1, std::nullopt},
    {"F8_E5M2", 1, std::nullopt},     {"F8_E4M3FNUZ", 1, std::nullopt},
    {"F8_E5M2FNUZ", 1, std::nullopt}, {"F8_E8M0", 1, std::nullopt}};

const ElementType* find_element_type(std::string_view name) {
  const auto* found = std::ranges::find(kElementTypes, name, &ElementType::name);
  return found == std::end(kElementTypes) ? nullptr : found;
}

// Parses the header; refuses what the JSON library would accept silently: equal keys, and nesting
// that would only use up memory.
Json parse_header(const std::string& path, std::string_view text) {
  std::vector<std::set<std::string>> keys(kMaxDepth + 1);
  const Json::parser_callback_t inspect = [&](int depth, Json::parse_event_t event, Json& value) {
    const bool opens =
        event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    if (opens && depth >= kMaxDepth)
      throw LoadError(path + ": safetensors header: nested too deeply");
    if (opens) keys[depth + 1].clear();
    if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys[depth].insert(key).second) {
        throw LoadError(path + ": safetensors header: '" + key + "' appears twice");
      }
    }
    return true;
  };
  try {
    return Json::parse(text, inspect);
  } catch (const Json::exception& error) {
    throw LoadError(path + ": safetensors header is not valid JSON: " + error.what());
  }
}

// A non-negative integer that fits int64_t.
std::optional<int64_t> read_size(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto number = value.get<uint64_t>();
  if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(number);
}

std::optional<std::vector<int64_t>> read_sizes(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) return std::nullopt;
  std::vector<int64_t> sizes;
  for (const Json& item : *found) {
    const std::optional<int64_t> size = read_size(item);
    if (!size) return std::nullopt;
    sizes.push_back(*size);
  }
  return sizes;
}

// `data_bytes`: of the file after the header.  The offset returned is relative to the end of the
// header.
SafetensorsEntry read_entry(const std::string& where, const Json& value, int64_t data_bytes) {
  if (!value.is_object()) throw LoadError(where + "the header's entry is not an object");
  const auto dtype = value.find("dtype");
  if (dtype == value.end() || !dtype->is_string())
    throw LoadError(where + "'dtype' is missing or no string");
  const auto shape = read_sizes(value, "shape");
  if (!shape) throw LoadError(where + "'shape' is not a list of sizes");
  const auto offsets = read_sizes(value, "data_offsets");
  if (!offsets || offsets->size() != 2)
    throw LoadError(where + "'data_offsets' is not a pair of offsets");

  SafetensorsEntry entry{.dtype = dtype->get<std::string>(), .shape = *shape};
  const ElementType* type = find_element_type(entry.dtype);
  if (type == nullptr) throw LoadError(where + "unknown dtype '" + entry.dtype + "'");
  int64_t num_bytes = type->num_bytes;
  for (int64_t size : entry.shape) {
    if (__builtin_mul_overflow(num_bytes, size, &num_bytes)) {
      throw LoadError(where + "shape " + shape_to_string(entry.shape) + " overflows");
    }
  }
  const int64_t begin = (*offsets)[0];
  const int64_t end = (*offsets)[1];
  if (begin > end || end > data_bytes) {
    throw LoadError(where + "bytes " + std::to_string(begin) + " to " + std::to_string(end) +
                    " lie outside the file's " + std::to_string(data_bytes) +
                    " bytes of data; the file may be truncated");
  }
  if (end - begin != num_bytes) {
    throw LoadError(where + "shape " + shape_to_string(entry.shape) + " of " + entry.dtype +
                    " needs " + std::to_string(num_bytes) + " bytes, the entry has " +
                    std::to_string(end - begin));
  }
  entry.offset = begin;
  entry.num_bytes = num_bytes;
  return entry;
}

// The format asks that the tensors fill the data exactly.
void check_contiguous(const std::string& path, const SafetensorsEntries& entries,
                      int64_t data_bytes) {
  std::vector<const SafetensorsEntries::value_type*> order;
  for (const auto& entry : entries) order.push_back(&entry);
  std::ranges::sort(order, [](const auto* a, const auto* b) {
    return std::pair(a->second.offset, a->second.num_bytes) <
           std::pair(b->second.offset, b->second.num_bytes);
  });
  int64_t end = 0;
  for (const auto* item : order) {
    const auto& [name, entry] = *item;
    if (entry.offset != end) {
      throw LoadError(path + ": tensor '" + name + "': its data " +
                      (entry.offset < end ? "overlaps that of another tensor" : "follows a gap"));
    }
    end = entry.offset + entry.num_bytes;
  }
  if (end != data_bytes) {
    throw LoadError(path + ": " + std::to_string(data_bytes - end) + " bytes belong to no tensor");
  }
}

}  // namespace

std::string shape_to_string(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

SafetensorsEntries parse_safetensors(const std::string& path, std::span<const std::byte> bytes) {
  uint64_t header_bytes = 0;
  if (bytes.size() < kLengthBytes) throw LoadError(path + ": too short for a safetensors file");
  std::memcpy(&header_bytes, bytes.data(), kLengthBytes);
  if (header_bytes > kMaxHeaderBytes) {
    throw LoadError(path + ": safetensors header of " + std::to_string(header_bytes) +
                    " bytes exceeds the limit of " + std::to_string(kMaxHeaderBytes));
  }
  if (header_bytes > bytes.size() - kLengthBytes) {
    throw LoadError(path + ": the file ends within its safetensors header; it is truncated");
  }
  const auto* text = reinterpret_cast<const char*>(bytes.data() + kLengthBytes);
  const Json header = parse_header(path, {text, static_cast<size_t>(header_bytes)});
  if (!header.is_object()) throw LoadError(path + ": safetensors header is not a JSON object");

  const int64_t data_begin = kLengthBytes + static_cast<int64_t>(header_bytes);
  const int64_t data_bytes = static_cast<int64_t>(bytes.size()) - data_begin;
  SafetensorsEntries entries;
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") continue;
    entries.emplace(name, read_entry(path + ": tensor '" + name + "': ", value, data_bytes));
  }
  check_contiguous(path, entries, data_bytes);
  for (auto& [name, entry] : entries) entry.offset += data_begin;
  return entries;
}

SafetensorsFile::SafetensorsFile(std::string path)
    : file_(std::move(path)), entries_(parse_safetensors(file_.path(), file_.bytes())) {}

TensorView SafetensorsFile::view(const std::string& name) const {
  const std::string where = path() + ": tensor '" + name + "': ";
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw LoadError(where + "missing");
  const SafetensorsEntry& entry = found->second;
  const std::optional<DType> dtype = find_element_type(entry.dtype)->dtype;
  if (!dtype)
    throw LoadError(where + "dtype " + entry.dtype + " is not supported; F32, F16 and BF16 are");
  if (entry.shape.size() > static_cast<size_t>(kMaxRank)) {
    throw LoadError(where + "shape " + shape_to_string(entry.shape) + " has more than " +
                    std::to_string(kMaxRank) + " dimensions");
  }
  Shape shape;
  for (int64_t size : entry.shape) shape.dims[shape.rank++] = size;
  auto* data = const_cast<std::byte*>(file_.bytes().data()) + entry.offset;  // read-only pages
  return TensorView(data, shape, *dtype);
}

void SafetensorsFile::release(const TensorView& view) const {
  const auto num_bytes = static_cast<size_t>(view.shape.num_elements() * size_of(view.dtype));
  file_.release({static_cast<const std::byte*>(view.data), num_bytes});
}

}  // namespace quire
