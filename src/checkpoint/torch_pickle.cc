#include "checkpoint/torch_pickle.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "checkpoint/pickle_reader.h"
#include "checkpoint/safetensors.h"
#include "checkpoint/zip_archive.h"

namespace quire {
namespace {

constexpr std::string_view kPickle = "/data.pkl";
// Of all compressed entries together: all matrices of an 8B model at rank 512 in F32 take 10 GB,
// but torch.save does not compress, so what is compressed is small or an attack.
constexpr uint64_t kMaxInflatedBytes = uint64_t{4} << 30;

struct StorageType {
  std::string_view name;
  DType dtype;
};
constexpr StorageType kStorageTypes[] = {{"torch.FloatStorage", DType::kF32},
                                         {"torch.HalfStorage", DType::kF16},
                                         {"torch.BFloat16Storage", DType::kBF16}};

// Finds the content of an archive's entries, inflating each at most once.
class Archive {
 public:
  Archive(const std::string& path, std::span<const std::byte> bytes, std::vector<Buffer>& inflated)
      : path_(path), entries_(parse_archive(path, bytes)), inflated_(inflated) {}

  // "archive" of "archive/data.pkl".
  std::string prefix() const {
    for (const auto& [name, entry] : entries_) {
      if (name.ends_with(kPickle)) return name.substr(0, name.size() - kPickle.size());
    }
    throw LoadError(path_ + ": the ZIP archive has no data.pkl; torch.save did not write it");
  }
  bool contains(const std::string& name) const { return entries_.contains(name); }
  // Throws LoadError if there is no such entry or it is damaged.
  std::span<const std::byte> content(const std::string& name) {
    const auto found = entries_.find(name);
    if (found == entries_.end()) throw LoadError(path_ + ": '" + name + "' is missing");
    ZipEntry& entry = found->second;
    if (!entry.deflated) return entry.data;
    inflated_bytes_ += std::min(entry.num_bytes, kMaxInflatedBytes);
    if (inflated_bytes_ > kMaxInflatedBytes || entry.num_bytes > kMaxInflatedBytes) {
      throw LoadError(path_ + ": '" + name + "': more than " + std::to_string(kMaxInflatedBytes) +
                      " bytes are compressed; save the adapter again as safetensors");
    }
    inflated_.push_back(inflate_entry(path_ + ": '" + name + "': ", entry));
    entry.data = {inflated_.back().data(), static_cast<size_t>(entry.num_bytes)};
    entry.deflated = false;
    return entry.data;
  }

 private:
  static ZipEntries parse_archive(const std::string& path, std::span<const std::byte> bytes) {
    if (bytes.size() < 2 || bytes[0] != std::byte{'P'} || bytes[1] != std::byte{'K'}) {
      throw LoadError(path +
                      ": not a ZIP archive; before version 1.6 torch.save wrote another "
                      "format: load the adapter with PEFT and save it again as safetensors");
    }
    return parse_zip(path, bytes);
  }

  const std::string& path_;
  ZipEntries entries_;
  std::vector<Buffer>& inflated_;
  uint64_t inflated_bytes_ = 0;
};

// The last index varies fastest, without gaps.  The stride of a single index says nothing.
bool is_contiguous(const PickledTensor& tensor, int64_t num_elements) {
  if (num_elements == 0) return true;
  int64_t stride = 1;
  for (size_t i = tensor.sizes.size(); i-- > 0;) {
    if (tensor.sizes[i] != 1 && tensor.strides[i] != stride) return false;
    stride *= tensor.sizes[i];
  }
  return true;
}

// The product of the sizes; none if one is negative or they overflow, also in bytes.
std::optional<int64_t> count_elements(std::span<const int64_t> sizes) {
  constexpr int64_t kMaxElements = int64_t{1} << 60;
  int64_t count = 1;
  for (const int64_t size : sizes) {
    const bool overflows = size < 0 || __builtin_mul_overflow(count, size, &count);
    if (overflows || count > kMaxElements) return std::nullopt;
  }
  return count;
}

// `where` names the file and the tensor.
TensorView view_of(const std::string& where, const PickledTensor& tensor,
                   std::span<const std::byte> storage) {
  const auto* type = std::ranges::find(kStorageTypes, tensor.storage_type, &StorageType::name);
  if (type == std::end(kStorageTypes)) {
    throw LoadError(where + "its elements are in a " + tensor.storage_type +
                    "; float, half and bfloat16 are supported");
  }
  const std::string sizes = shape_to_string(tensor.sizes);
  const std::optional<int64_t> count = count_elements(tensor.sizes);
  if (!count || tensor.sizes.size() > static_cast<size_t>(kMaxRank)) {
    throw LoadError(where + "shape " + sizes + " is not supported");
  }
  if (!is_contiguous(tensor, *count)) {
    throw LoadError(where + "shape " + sizes + " has strides " + shape_to_string(tensor.strides) +
                    "; only contiguous tensors are supported: load the adapter with PEFT and save "
                    "it again as safetensors");
  }
  const int64_t element_bytes = size_of(type->dtype);
  const auto storage_elements = static_cast<int64_t>(storage.size()) / element_bytes;
  if (tensor.storage_elements != storage_elements || tensor.offset < 0 ||
      tensor.offset > storage_elements || *count > storage_elements - tensor.offset) {
    throw LoadError(where + "shape " + sizes + " at element " + std::to_string(tensor.offset) +
                    " does not fit its storage of " + std::to_string(storage.size()) + " bytes");
  }
  Shape shape;
  for (const int64_t size : tensor.sizes) shape.dims[shape.rank++] = size;
  auto* data = const_cast<std::byte*>(storage.data());  // read-only pages
  return TensorView(data + tensor.offset * element_bytes, shape, type->dtype);
}

}  // namespace

TorchPickleFile::TorchPickleFile(std::string path) : file_(std::move(path)) {
  Archive archive(file_.path(), file_.bytes(), inflated_);
  const std::string prefix = archive.prefix();
  const std::string byte_order = prefix + "/byteorder";
  if (archive.contains(byte_order)) {
    const auto content = archive.content(byte_order);
    const std::string_view order(reinterpret_cast<const char*>(content.data()), content.size());
    if (order != "little") throw LoadError(file_.path() + ": its bytes are in big-endian order");
  }
  const auto pickle = archive.content(prefix + std::string(kPickle));
  for (const auto& [name, tensor] : read_pickled_tensors(file_.path() + ": ", pickle)) {
    const auto storage = archive.content(prefix + "/data/" + tensor.storage_key);
    tensors_.emplace(name, view_of(file_.path() + ": tensor '" + name + "': ", tensor, storage));
  }
}

}  // namespace quire
