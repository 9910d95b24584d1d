#include "engine/lora_adapter.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "nn/build_context.h"
#include "tensor/uploader.h"

namespace quire {
namespace {

AdapterLayout lay_out(const PeftAdapter& peft, const LoraModelShape& shape) {
  std::vector<AdapterPartShape> parts;
  for (const PeftPart& part : peft.parts()) {
    const LoraTarget& target = shape.targets[part.target];
    parts.push_back({.rank = part.rank,
                     .a_bytes = target.in_features * size_of(shape.dtype),
                     .b_bytes = target.out_features * size_of(shape.dtype)});
  }
  return lay_out_adapter(parts, static_cast<int>(shape.targets.size()), shape.block_bytes);
}

// Of the first targets, none to all: how many of the first blocks have the directory and their
// rows.
std::vector<int> count_blocks_before(const PeftAdapter& peft, const AdapterLayout& layout,
                                     size_t num_targets) {
  std::vector<int> counts(num_targets + 1, 1);
  for (size_t block = 0; block < layout.directory_bytes.size(); ++block) {
    if (layout.directory_bytes[block] > 0) counts[0] = static_cast<int>(block) + 1;
  }
  for (size_t i = 0; i < layout.parts.size(); ++i) {
    int& count = counts[peft.parts()[i].target + 1];
    for (const AdapterSpot& spot : layout.parts[i].a) count = std::max(count, spot.block + 1);
    for (const AdapterSpot& spot : layout.parts[i].b) count = std::max(count, spot.block + 1);
  }
  for (size_t i = 1; i < counts.size(); ++i) counts[i] = std::max(counts[i], counts[i - 1]);
  return counts;
}

BlockHash content_of(const PeftAdapter& peft) {
  const std::array<uint8_t, 16> digest = peft.content_hash();
  BlockHash hash;
  std::memcpy(&hash.low, digest.data(), sizeof(hash.low));
  std::memcpy(&hash.high, digest.data() + sizeof(hash.low), sizeof(hash.high));
  return hash;
}

}  // namespace

LoraAdapter::LoraAdapter(const std::string& directory, const LoraModelShape& shape, int max_rank)
    : shape_(shape),
      peft_(directory, shape.targets, {.max_rank = max_rank}),
      layout_(lay_out(peft_, shape)),
      content_(content_of(peft_)),
      num_blocks_before_(count_blocks_before(peft_, layout_, shape.targets.size())) {
  if (shape.device->is_host()) return;
  image_ = Buffer::staging(static_cast<int64_t>(layout_.used_bytes.size()) * shape.block_bytes,
                           *shape.device);
  for (size_t i = 0; i < layout_.parts.size(); ++i) {
    write_rows(i, [&](const AdapterSpot& spot) { return image_at(spot); });
  }
}

// Adapters of equal content are one to the arena and the caches.
AdapterExtent LoraAdapter::extent() const {
  AdapterExtent extent = layout_.extent;
  extent.id = content_.low;
  return extent;
}

bool LoraAdapter::changes_head() const {
  return std::ranges::any_of(
      peft_.parts(), [&](const PeftPart& part) { return shape_.targets[part.target].is_head; });
}

std::byte* LoraAdapter::image_at(const AdapterSpot& spot) const {
  return image_.data() + spot.block * shape_.block_bytes + spot.offset;
}

template <typename To>
void LoraAdapter::write_rows(size_t part, const To& to) const {
  const PeftPart& peft = peft_.parts()[part];
  const LoraTarget& target = shape_.targets[peft.target];
  const AdapterLayout::Part& laid = layout_.parts[part];
  for (size_t j = 0; j < laid.a.size(); ++j) {
    convert_elements({.from = peft.a.rows_view(static_cast<int64_t>(j), 1).as<std::byte>(),
                      .from_dtype = peft.a.dtype,
                      .to = to(laid.a[j]),
                      .to_dtype = shape_.dtype,
                      .count = target.in_features});
  }
  std::vector<std::byte*> columns;
  for (const AdapterSpot& spot : laid.b) columns.push_back(to(spot));
  convert_columns(
      {.from = peft.b, .to = columns, .to_dtype = shape_.dtype, .row_order = target.output_order});
}

// The first directory_bytes of each block, one after the other.
std::vector<std::byte> LoraAdapter::directory_image(const AdapterAddress& address) const {
  std::vector<int64_t> begins;
  int64_t size = 0;
  for (const int32_t bytes : layout_.directory_bytes) {
    begins.push_back(size);
    size += bytes;
  }
  std::vector<std::byte> image(static_cast<size_t>(size));
  const auto write = [&](const AdapterSpot& spot, size_t index, const auto& value) {
    const auto offset = static_cast<size_t>(begins[static_cast<size_t>(spot.block)] + spot.offset);
    std::memcpy(image.data() + offset + index * sizeof(value), &value, sizeof(value));
  };
  for (size_t i = 0; i < layout_.parts.size(); ++i) {
    const PeftPart& peft = peft_.parts()[i];
    const AdapterLayout::Part& laid = layout_.parts[i];
    write(layout_.directory, peft.target,
          LoraPart{.rows = address.of(laid.rows), .rank = peft.rank, .scale = peft.scale});
    for (size_t j = 0; j < laid.a.size(); ++j) {
      write(laid.rows, j, LoraRow{.a = address.of(laid.a[j]), .b = address.of(laid.b[j])});
    }
  }
  return image;
}

void LoraAdapter::load(Stream& stream, std::byte* arena, const AdapterPlace& place, int begin,
                       int end, FunctionRef<bool(int)> wanted) const {
  const AdapterAddress address(layout_, place, shape_.block_bytes);
  std::vector<std::byte> directory;
  int64_t from = 0;
  for (int block = 0; block < end; ++block) {
    const int64_t directory_bytes = layout_.directory_bytes[static_cast<size_t>(block)];
    const int64_t at = std::exchange(from, from + directory_bytes);
    if (block < begin || !wanted(block)) continue;
    const AdapterSpot start{.block = block, .offset = 0};
    std::byte* to = arena + address.of(start);
    if (directory_bytes > 0) {
      if (directory.empty()) directory = directory_image(address);
      HostRows rows;
      rows.data = directory.data() + at;
      rows.rows = 1;
      rows.row_bytes = rows.stride_bytes = directory_bytes;
      stream.uploader().upload(to, rows);
    }
    const int64_t row_bytes = layout_.used_bytes[static_cast<size_t>(block)] - directory_bytes;
    if (row_bytes == 0) continue;
    stream.copy(to + directory_bytes, image_at(start) + directory_bytes, row_bytes);
  }
}

void LoraAdapter::load_on_host(ThreadPool& pool, std::byte* arena,
                               const AdapterPlace& place) const {
  const AdapterAddress address(layout_, place, shape_.block_bytes);
  const std::vector<std::byte> directory = directory_image(address);
  const std::byte* from = directory.data();
  for (size_t block = 0; block < layout_.directory_bytes.size(); ++block) {
    const auto size = static_cast<size_t>(layout_.directory_bytes[block]);
    if (size == 0) continue;
    std::memcpy(arena + address.of({.block = static_cast<int32_t>(block), .offset = 0}), from,
                size);
    from += size;
  }
  pool.parallel_for(
      static_cast<int64_t>(layout_.parts.size()), 1, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          write_rows(static_cast<size_t>(i),
                     [&](const AdapterSpot& spot) { return arena + address.of(spot); });
        }
      });
}

}  // namespace quire
