// Building ZIP archives in tests, among them such as torch.save writes.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/check.h"

namespace quire {

struct ZipOptions {
  bool deflated = false;
  bool zip64 = false;       // offsets in the extra fields, and the longer end record
  bool zip64_sizes = true;  // with zip64: sizes in the extra fields, too
  size_t padding = 0;       // bytes of the local headers' extra fields
  std::string comment = {};
};
struct ZipContent {
  std::string name;
  std::string content;
};

// `number` in `num_bytes` bytes, least significant first.
inline std::string little_endian(uint64_t number, size_t num_bytes) {
  std::string bytes;
  for (size_t i = 0; i < num_bytes; ++i) bytes += static_cast<char>(number >> (8 * i) & 0xff);
  return bytes;
}

inline std::string deflate_bytes(const std::string& content) {
  std::string out(content.size() + 1024, '\0');
  z_stream stream{};
  CHECK(deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline std::string zip_bytes(const std::vector<ZipContent>& files, const ZipOptions& options = {}) {
  std::string bytes, directory;
  for (const auto& [name, content] : files) {
    const std::string data = options.deflated ? deflate_bytes(content) : content;
    const uint64_t offset = bytes.size();
    const bool long_sizes = options.zip64 && options.zip64_sizes;
    const auto size = [&](uint64_t n) { return little_endian(long_sizes ? 0xffffffff : n, 4); };
    const std::string common =  // flags, method, time, date, CRC-32, sizes, length of the name
        little_endian(0, 2) + little_endian(options.deflated ? 8 : 0, 2) + little_endian(0, 4) +
        little_endian(
            crc32(0, reinterpret_cast<const Bytef*>(content.data()), uInt(content.size())), 4) +
        size(data.size()) + size(content.size()) + little_endian(name.size(), 2);
    std::string extra;
    if (options.zip64) {
      const std::string sizes = little_endian(content.size(), 8) + little_endian(data.size(), 8);
      const std::string numbers = (long_sizes ? sizes : "") + little_endian(offset, 8);
      extra = little_endian(0xcafe, 2) + little_endian(1, 2) + "x" +  // a field to skip
              little_endian(1, 2) + little_endian(numbers.size(), 2) + numbers;
    }
    bytes += "PK\3\4" + little_endian(45, 2) + common + little_endian(options.padding, 2) + name +
             std::string(options.padding, 'Z') + data;
    directory += "PK\1\2" + little_endian(45, 2) + little_endian(45, 2) + common +
                 little_endian(extra.size(), 2) + little_endian(0, 2) + little_endian(0, 8) +
                 little_endian(options.zip64 ? 0xffffffff : offset, 4) + name + extra;
  }
  const uint64_t begin = bytes.size();
  bytes += directory;
  if (options.zip64) {
    const uint64_t end = bytes.size();
    bytes += "PK\6\6" + little_endian(44, 8) + little_endian(45, 4) + little_endian(0, 8) +
             little_endian(files.size(), 8) + little_endian(files.size(), 8) +
             little_endian(directory.size(), 8) + little_endian(begin, 8);
    bytes += "PK\6\7" + little_endian(0, 4) + little_endian(end, 8) + little_endian(1, 4);
  }
  const auto small = [&](uint64_t n, size_t num_bytes) {
    return options.zip64 ? std::string(num_bytes, '\xff') : little_endian(n, num_bytes);
  };
  return bytes + "PK\5\6" + little_endian(0, 4) + small(files.size(), 2) + small(files.size(), 2) +
         small(directory.size(), 4) + small(begin, 4) + little_endian(options.comment.size(), 2) +
         options.comment;
}

}  // namespace quire
