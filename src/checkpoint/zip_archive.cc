#include "checkpoint/zip_archive.h"

#include <zlib.h>

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstring>
#include <limits>
#include <optional>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie");

constexpr uint32_t kLocalHeader = 0x04034b50;
constexpr uint32_t kCentralHeader = 0x02014b50;
constexpr uint32_t kEnd = 0x06054b50;
constexpr uint32_t kEnd64 = 0x06064b50;
constexpr uint32_t kEnd64Locator = 0x07064b50;
constexpr size_t kLocalHeaderBytes = 30;
constexpr size_t kCentralHeaderBytes = 46;
constexpr size_t kEndBytes = 22;
constexpr size_t kEnd64Bytes = 56;
constexpr size_t kEnd64LocatorBytes = 20;
constexpr size_t kMaxCommentBytes = 0xffff;
constexpr uint16_t kEncrypted = 1;  // of the flags
constexpr uint16_t kStored = 0;     // of the methods
constexpr uint16_t kDeflated = 8;
constexpr uint16_t kExtra64 = 1;  // the extra field with 64-bit sizes
constexpr uint32_t kSeeExtra = 0xffffffff;
// Deflate's best is 1032:1, for constant bytes; an entry that claims more is damaged.
constexpr uint64_t kMaxRatio = 1100;

// Bytes of a file; every access is checked.
class Bytes {
 public:
  Bytes(const std::string& path, std::span<const std::byte> bytes) : path_(path), bytes_(bytes) {}

  size_t size() const { return bytes_.size(); }
  [[noreturn]] void fail(const std::string& problem) const {
    throw LoadError(path_ + ": " + problem + "; the ZIP archive is damaged or truncated");
  }
  std::span<const std::byte> range(uint64_t offset, uint64_t num_bytes) const {
    if (offset > bytes_.size() || num_bytes > bytes_.size() - offset) {
      fail("bytes " + std::to_string(offset) + " and the " + std::to_string(num_bytes) +
           " that follow lie outside the file");
    }
    return bytes_.subspan(offset, num_bytes);
  }
  template <std::unsigned_integral T>
  T read(uint64_t offset) const {
    T value;
    std::memcpy(&value, range(offset, sizeof(T)).data(), sizeof(T));
    return value;
  }

 private:
  const std::string& path_;
  std::span<const std::byte> bytes_;
};

struct Directory {
  uint64_t offset = 0;
  uint64_t num_bytes = 0;
  uint64_t num_entries = 0;
};

// The end record lies before a comment of unknown length.
uint64_t find_end(const Bytes& bytes) {
  if (bytes.size() < kEndBytes) bytes.fail("too short");
  const uint64_t last = bytes.size() - kEndBytes;
  const uint64_t first = last - std::min<uint64_t>(last, kMaxCommentBytes);
  for (uint64_t offset = last + 1; offset-- > first;) {
    const bool found =
        bytes.read<uint32_t>(offset) == kEnd && bytes.read<uint16_t>(offset + 20) == last - offset;
    if (found) return offset;
  }
  bytes.fail("has no end of central directory");
}

Directory find_directory(const Bytes& bytes) {
  const uint64_t end = find_end(bytes);
  Directory directory;
  const bool has_64 =
      end >= kEnd64LocatorBytes && bytes.read<uint32_t>(end - kEnd64LocatorBytes) == kEnd64Locator;
  if (has_64) {
    const auto end_64 = bytes.read<uint64_t>(end - kEnd64LocatorBytes + 8);
    bytes.range(end_64, kEnd64Bytes);
    if (bytes.read<uint32_t>(end_64) != kEnd64) bytes.fail("has no ZIP64 end of directory");
    directory = {.offset = bytes.read<uint64_t>(end_64 + 48),
                 .num_bytes = bytes.read<uint64_t>(end_64 + 40),
                 .num_entries = bytes.read<uint64_t>(end_64 + 32)};
  } else {
    directory = {.offset = bytes.read<uint32_t>(end + 16),
                 .num_bytes = bytes.read<uint32_t>(end + 12),
                 .num_entries = bytes.read<uint16_t>(end + 10)};
  }
  bytes.range(directory.offset, directory.num_bytes);
  return directory;
}

// The sizes and the place of an entry, of which the central header holds the low 32 bits.
struct Extent {
  uint64_t num_bytes = 0;
  uint64_t compressed_bytes = 0;
  uint64_t header_offset = 0;
};

// Replaces the numbers that are in the extra field instead, in the order that the format gives.
void read_extra_64(const Bytes& bytes, uint64_t offset, uint64_t end, Extent& extent) {
  while (end - offset >= 4) {
    const auto id = bytes.read<uint16_t>(offset);
    const uint64_t field_end = offset + 4 + bytes.read<uint16_t>(offset + 2);
    if (field_end > end) bytes.fail("an extra field is too long");
    offset += 4;
    if (id == kExtra64) {
      for (uint64_t* number :
           {&extent.num_bytes, &extent.compressed_bytes, &extent.header_offset}) {
        if (*number != kSeeExtra) continue;
        if (field_end - offset < 8) bytes.fail("a ZIP64 extra field is too short");
        *number = bytes.read<uint64_t>(offset);
        offset += 8;
      }
      return;
    }
    offset = field_end;
  }
}

// The entry whose central header is at `offset`.
ZipEntry read_entry(const Bytes& bytes, uint64_t offset, const std::string& name) {
  const auto extra_offset = offset + kCentralHeaderBytes + name.size();
  const auto extra_bytes = bytes.read<uint16_t>(offset + 30);
  Extent extent{.num_bytes = bytes.read<uint32_t>(offset + 24),
                .compressed_bytes = bytes.read<uint32_t>(offset + 20),
                .header_offset = bytes.read<uint32_t>(offset + 42)};
  read_extra_64(bytes, extra_offset, extra_offset + extra_bytes, extent);

  const std::string entry = "entry '" + name + "' ";
  if ((bytes.read<uint16_t>(offset + 8) & kEncrypted) != 0) bytes.fail(entry + "is encrypted");
  const auto method = bytes.read<uint16_t>(offset + 10);
  if (method != kStored && method != kDeflated) {
    bytes.fail(entry + "is compressed by method " + std::to_string(method));
  }
  const bool deflated = method == kDeflated;
  const bool plausible = deflated ? extent.num_bytes / kMaxRatio <= extent.compressed_bytes
                                  : extent.num_bytes == extent.compressed_bytes;
  if (!plausible) bytes.fail(entry + "has an impossible size");

  bytes.range(extent.header_offset, kLocalHeaderBytes);
  if (bytes.read<uint32_t>(extent.header_offset) != kLocalHeader) {
    bytes.fail(entry + "has no local header");
  }
  // The local header's name and extra field may be longer than the central one's.
  const uint64_t data = extent.header_offset + kLocalHeaderBytes +
                        bytes.read<uint16_t>(extent.header_offset + 26) +
                        bytes.read<uint16_t>(extent.header_offset + 28);
  return {.deflated = deflated,
          .crc32 = bytes.read<uint32_t>(offset + 16),
          .data = bytes.range(data, extent.compressed_bytes),
          .num_bytes = extent.num_bytes};
}

}  // namespace

ZipEntries parse_zip(const std::string& path, std::span<const std::byte> file) {
  const Bytes bytes(path, file);
  const Directory directory = find_directory(bytes);
  const uint64_t end = directory.offset + directory.num_bytes;
  ZipEntries entries;
  uint64_t offset = directory.offset;
  for (uint64_t i = 0; i < directory.num_entries; ++i) {
    if (end - offset < kCentralHeaderBytes || bytes.read<uint32_t>(offset) != kCentralHeader) {
      bytes.fail("the central directory ends at entry " + std::to_string(i));
    }
    const uint64_t name_bytes = bytes.read<uint16_t>(offset + 28);
    const uint64_t next = offset + kCentralHeaderBytes + name_bytes +
                          bytes.read<uint16_t>(offset + 30) + bytes.read<uint16_t>(offset + 32);
    if (next > end) bytes.fail("the central directory ends within entry " + std::to_string(i));
    const auto raw = bytes.range(offset + kCentralHeaderBytes, name_bytes);
    const std::string name(reinterpret_cast<const char*>(raw.data()), raw.size());
    if (!entries.emplace(name, read_entry(bytes, offset, name)).second) {
      bytes.fail("entry '" + name + "' is there twice");
    }
    offset = next;
  }
  return entries;
}

Buffer inflate_entry(const std::string& where, const ZipEntry& entry) {
  CHECK(entry.deflated, where);
  Buffer content(static_cast<int64_t>(entry.num_bytes));
  z_stream stream{};
  CHECK(::inflateInit2(&stream, -MAX_WBITS) == Z_OK, "zlib");  // without zlib's own header
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(entry.data.data()));
  stream.next_out = reinterpret_cast<Bytef*>(content.data());
  uint64_t input_left = entry.data.size();
  uint64_t output_left = entry.num_bytes;
  constexpr uint64_t kMaxPiece = std::numeric_limits<uInt>::max();
  int status = Z_OK;
  do {
    const uint64_t input = std::min(input_left, kMaxPiece);
    const uint64_t output = std::min(output_left, kMaxPiece);
    stream.avail_in = static_cast<uInt>(input);
    stream.avail_out = static_cast<uInt>(output);
    status = ::inflate(&stream, Z_NO_FLUSH);
    input_left -= input - stream.avail_in;
    output_left -= output - stream.avail_out;
  } while (status == Z_OK);
  ::inflateEnd(&stream);
  const auto* begin = reinterpret_cast<const Bytef*>(content.data());
  const bool whole = status == Z_STREAM_END && output_left == 0;
  if (!whole || ::crc32_z(0, begin, entry.num_bytes) != entry.crc32) {
    throw LoadError(where + "the compressed data are damaged");
  }
  return content;
}

}  // namespace quire
