// Writing pickles in tests, such as torch.save writes.  The instructions are pickletools'.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "support/zip_bytes.h"

namespace quire::pickled {

inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string text(const std::string& text) {
  return "X" + little_endian(text.size(), 4) + text;
}
inline std::string integer(int64_t number) {
  return "\x8a\x08" + little_endian(static_cast<uint64_t>(number), 8);
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string all = "(";
  for (const std::string& item : items) all += item;
  return all + "t";
}
inline std::string integers(const std::vector<int64_t>& numbers) {
  std::vector<std::string> items;
  for (const int64_t number : numbers) items.push_back(integer(number));
  return tuple(items);
}
inline std::string call(const std::string& function, const std::vector<std::string>& arguments) {
  return function + tuple(arguments) + "R";
}
inline std::string ordered_dict() { return call(global("collections", "OrderedDict"), {}); }

struct TensorFields {
  std::string type = "FloatStorage";
  std::string key = "0";
  int64_t elements = 0;  // of the storage
  int64_t offset = 0;
  std::vector<int64_t> sizes = {};
  std::vector<int64_t> strides = {};
};
inline std::string tensor(const TensorFields& fields) {
  const std::string storage = tuple({text("storage"), global("torch", fields.type),
                                     text(fields.key), text("cpu"), integer(fields.elements)}) +
                              "Q";
  return call(global("torch._utils", "_rebuild_tensor_v2"),
              {storage, integer(fields.offset), integers(fields.sizes), integers(fields.strides),
               "\x89", ordered_dict()});
}
// A whole pickle: a dictionary of these names and values.
inline std::string dictionary(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string all = "\x80\x02}(";
  for (const auto& [name, value] : items) all += text(name) + value;
  return all + "u.";
}

}  // namespace quire::pickled
