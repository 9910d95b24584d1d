// The files within a ZIP archive, stored or deflated.
// Source: PKWARE's APPNOTE.TXT, sections 4.3 and 4.5.3 (ZIP64).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>

#include "tensor/tensor.h"

namespace quire {

struct ZipEntry {
  bool deflated = false;
  uint32_t crc32 = 0;               // of the content
  std::span<const std::byte> data;  // as it lies in the archive
  uint64_t num_bytes = 0;           // of the content
};
using ZipEntries = std::map<std::string, ZipEntry>;

// The entries of an archive given as bytes, all within it.  Throws LoadError naming `path` and the
// entry that is damaged, encrypted, or compressed in another way.
ZipEntries parse_zip(const std::string& path, std::span<const std::byte> bytes);

// The content of a deflated entry.  `where` begins the message of the LoadError thrown if it is
// damaged.  Requires: entry.deflated.
Buffer inflate_entry(const std::string& where, const ZipEntry& entry);

}  // namespace quire
