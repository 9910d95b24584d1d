// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace quire {

class MappedFile {
 public:
  // Throws LoadError naming the file if it cannot be opened, is no regular file or is empty.
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  // Gives back the memory of the pages that lie wholly within `range`, a part of bytes(); they are
  // read again from the file if touched.
  void release(std::span<const std::byte> range) const;

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

}  // namespace quire
