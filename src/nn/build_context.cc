#include "nn/build_context.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "tensor/float16.h"
#include "tensor/transpose.h"
#include "tensor/uploader.h"

namespace quire {
namespace {

// How each stored type becomes a float and back.  memcpy because checkpoints may be unaligned.
struct F32 {
  using Bits = float;
  static float to_float(float bits) { return bits; }
  static float from_float(float value) { return value; }
};
struct F16 {
  using Bits = uint16_t;
  static float to_float(uint16_t bits) { return f16_to_float(bits); }
  static uint16_t from_float(float value) { return float_to_f16(value); }
};
struct BF16 {
  using Bits = uint16_t;
  static float to_float(uint16_t bits) { return bf16_to_float(bits); }
  static uint16_t from_float(float value) { return float_to_bf16(value); }
};

// Calls f with the tag of a floating-point type.
template <typename F>
void dispatch_float(DType dtype, F f) {
  switch (dtype) {
    case DType::kF32:
      return f(F32{});
    case DType::kF16:
      return f(F16{});
    case DType::kBF16:
      return f(BF16{});
    case DType::kI32:
      break;
  }
  CHECK(false, "not a floating-point type: ", to_string(dtype));
}

// `count` elements; `from_step` is the distance in elements between those read.
template <typename From, typename To>
void convert_elements(const std::byte* from, int64_t from_step, std::byte* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    typename From::Bits in;
    std::memcpy(&in, from + i * from_step * static_cast<int64_t>(sizeof(in)), sizeof(in));
    const typename To::Bits out = To::from_float(From::to_float(in));
    std::memcpy(to + i * static_cast<int64_t>(sizeof(out)), &out, sizeof(out));
  }
}

// The same for elements that lie one after the other.
template <typename From, typename To>
void convert_run(const std::byte* from, std::byte* to, int64_t count) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, static_cast<size_t>(count) * sizeof(typename To::Bits));
  } else {
    convert_elements<From, To>(from, 1, to, count);
  }
}

template <typename From, typename To>
void convert_rows(const ConvertArgs& args, int64_t begin, int64_t end) {
  const int64_t columns = args.to.shape.num_elements() / args.to.rows();
  const auto* from = static_cast<const std::byte*>(args.from.data);
  for (int64_t row = begin; row < end; ++row) {
    std::byte* to = args.to.rows_view(row, 1).as<std::byte>();
    if (args.transposed) {
      convert_elements<From, To>(from + row * sizeof(typename From::Bits), args.to.rows(), to,
                                 columns);
      continue;
    }
    const int64_t source = args.row_order.empty() ? row : args.row_order[static_cast<size_t>(row)];
    const std::byte* source_row = args.from.rows_view(source, 1).as<std::byte>();
    convert_run<From, To>(source_row, to, columns);
  }
}

// What convert_columns() does at a time: few enough rows to be in the nearest cache until all their
// columns are done, and enough to write some cache lines of each column.
constexpr int64_t kTileRows = 128;
constexpr int64_t kTileColumns = 16;

// Rows [begin, begin + count) of `args.from`.
template <typename From, typename To>
void convert_tile(const ConvertColumnsArgs& args, int64_t begin, int64_t count) {
  using FromBits = typename From::Bits;
  std::array<const std::byte*, kTileRows> rows;
  for (int64_t i = 0; i < count; ++i) {
    const auto row = static_cast<size_t>(begin + i);
    rows[i] = args.from.rows_view(args.row_order.empty() ? begin + i : args.row_order[row], 1)
                  .template as<std::byte>();
  }
  FromBits tile[kTileColumns][kTileRows];  // of other types: transposed, to be converted
  for (int64_t first = 0; first < std::ssize(args.to); first += kTileColumns) {
    const int64_t num_columns = std::min(kTileColumns, std::ssize(args.to) - first);
    const auto to = [&](int64_t column) {
      return args.to[static_cast<size_t>(first + column)] +
             begin * static_cast<int64_t>(sizeof(typename To::Bits));
    };
    std::array<std::byte*, kTileColumns> columns;
    for (int64_t j = 0; j < num_columns; ++j) {
      columns[j] = std::is_same_v<From, To> ? to(j) : reinterpret_cast<std::byte*>(tile[j]);
    }
    transpose({.rows = std::span(rows).first(static_cast<size_t>(count)),
               .first_column = first,
               .columns = std::span(columns).first(static_cast<size_t>(num_columns)),
               .element_bytes = sizeof(FromBits)});
    if constexpr (std::is_same_v<From, To>) continue;
    for (int64_t j = 0; j < num_columns; ++j) {
      convert_elements<From, To>(columns[j], 1, to(j), count);
    }
  }
}

}  // namespace

void convert(ThreadPool& pool, const ConvertArgs& args) {
  CHECK(args.from.shape.num_elements() == args.to.shape.num_elements(), "shapes differ");
  CHECK(args.row_order.empty() || static_cast<int64_t>(args.row_order.size()) == args.to.rows());
  dispatch_float(args.from.dtype, [&]<typename From>(From) {
    dispatch_float(args.to.dtype, [&]<typename To>(To) {
      pool.parallel_for(args.to.rows(), 1, [&](int64_t begin, int64_t end) {
        convert_rows<From, To>(args, begin, end);
      });
    });
  });
}

void convert_elements(const ConvertElementsArgs& args) {
  dispatch_float(args.from_dtype, [&]<typename From>(From) {
    dispatch_float(args.to_dtype,
                   [&]<typename To>(To) { convert_run<From, To>(args.from, args.to, args.count); });
  });
}

void convert_columns(const ConvertColumnsArgs& args) {
  CHECK(args.from.shape.rank == 2 && args.from.shape[1] == std::ssize(args.to), "columns differ");
  CHECK(args.row_order.empty() || std::ssize(args.row_order) == args.from.rows());
  dispatch_float(args.from.dtype, [&]<typename From>(From) {
    dispatch_float(args.to_dtype, [&]<typename To>(To) {
      for (int64_t row = 0; row < args.from.rows(); row += kTileRows) {
        convert_tile<From, To>(args, row, std::min(kTileRows, args.from.rows() - row));
      }
    });
  });
}

BuildContext BuildContext::at(std::string_view name) const {
  BuildContext child = *this;
  child.prefix = name_of(name);
  return child;
}

BuildContext BuildContext::at(std::string_view name, int index) const {
  return at(std::string(name) + "." + std::to_string(index));
}

std::string BuildContext::name_of(std::string_view leaf) const {
  if (prefix.empty() || leaf.empty()) return prefix + std::string(leaf);
  return prefix + "." + std::string(leaf);
}

Tensor BuildContext::load_vector(std::string_view leaf, int64_t size) const {
  Tensor vector(Shape{size}, DType::kF32);
  const TensorView from = weights.take(name_of(leaf), Shape{size});
  convert(stream.pool(), {.from = from, .to = vector.view()});
  weights.release(from);
  weight_bytes += size * size_of(DType::kF32);
  return to_device(std::move(vector));
}

Tensor BuildContext::load_matrix(std::string_view leaf, int64_t rows, int64_t columns) const {
  const TensorView from = weights.take(name_of(leaf), Shape{rows, columns});
  weight_bytes += rows * columns * size_of(dtype);
  if (from.dtype == dtype && !kernels.device->is_host()) {
    Tensor matrix(Shape{rows, columns}, dtype, *kernels.device);
    stream.uploader().upload(matrix.view().as<std::byte>(), HostRows(from));
    weights.release(from);
    return matrix;
  }
  Tensor matrix(Shape{rows, columns}, dtype);
  convert(stream.pool(), {.from = from, .to = matrix.view()});
  weights.release(from);
  return to_device(std::move(matrix));
}

Tensor BuildContext::to_device(Tensor host) const {
  if (kernels.device->is_host() || host.empty()) return host;
  const TensorView& from = host.view();
  Tensor copy(from.shape, from.dtype, *kernels.device);
  stream.uploader().upload(copy.view().as<std::byte>(), HostRows(from));
  return copy;
}

}  // namespace quire
