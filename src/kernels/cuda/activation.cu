// Functions of the MLP's activations, sums and soft caps: one thread per vector of a row.
#include "kernels/cuda/activate.cuh"
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/lora_addition.cuh"
#include "kernels/cuda/lora_expand.h"
#include "kernels/cuda/vectors.cuh"

namespace quire {
namespace {

constexpr int kVectorSize = 8;

// A matrix for kernels.
template <typename T>
struct Rows {
  T* data;
  int64_t stride;

  explicit Rows(const TensorView& view) : data(view.as<T>()), stride(view.row_stride) {}
  __device__ T* at(const RowPosition& position) const {
    return data + position.row * stride + position.column;
  }
};

template <typename T, int kSize>
__global__ void gated_activation(Rows<T> x, Rows<T> out, int size, Activation activation) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const RowPosition position = row_position<kSize>(size);
  if (position.column >= size) return;
  float gate[kSize];
  float up[kSize];
  load_floats(x.at(position), gate);
  load_floats(x.at(position) + size, up);
  activate<T>(activation, gate);
#pragma unroll
  for (int i = 0; i < kSize; ++i) gate[i] *= up[i];
  store_floats(gate, out.at(position));
}

static_assert(2 * kLoraGroupTokens * lora::kChunkRanks <= kRowGridThreads,
              "a thread loads one of gate's and up's factors");

// The same, with what adapters add to gate and up.  A thread has kSize columns of one row, or of up
// to kTokens of one adapter, and its part of B in registers.
template <typename T, int kSize, int kTokens>
__global__ void __launch_bounds__(kRowGridThreads, kSize == 2 ? 7 : 4)
    gated_activation_deferred(Rows<T> x, Rows<T> out, int size, Activation activation,
                              const lora::AdditionParams addition) {
  allow_next_kernel();
  const RowPosition position = row_position<kSize>(size);
  const LoraTokenPlace place = addition.places[position.row];
  const int num_tokens = kTokens == 1 ? 1 : place.group_size;
  if (num_tokens == 0) return;
  const int up_part = addition.columns.num_parts - 1;
  const LoraPart gate_part = lora::part_at(addition, place, 0);
  const LoraPart up = lora::part_at(addition, place, up_part);
  const bool has_columns = position.column < size;
  const int up_column = position.column + (up_part == 0 ? size : 0);
  const lora::ColumnsOfB<T, kSize> gate_b(addition, has_columns ? gate_part : LoraPart{},
                                          position.column);
  const lora::ColumnsOfB<T, kSize> up_b(addition, has_columns ? up : LoraPart{}, up_column);
  int64_t rows[kTokens] = {position.row};
  if (kTokens > 1 && place.parts >= 0) {
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      rows[t] = addition.tiles.tokens[place.index + min(t, num_tokens - 1)];
    }
  }
  wait_for_previous_kernel();

  float gates[kTokens][kSize] = {};
  float ups[kTokens][kSize] = {};
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (t >= num_tokens || !has_columns) continue;
    load_floats(x.at({rows[t], position.column}), gates[t]);
    load_floats(x.at({rows[t], position.column}) + size, ups[t]);
  }
  alignas(16) __shared__ float factors[2][kTokens][lora::kChunkRanks];
  const int max_rank = max(gate_part.rank, up.rank);
  const auto load_factors = [&](int first) {
    const auto i = static_cast<int>(threadIdx.x);
    const int rank = i % lora::kChunkRanks;
    const int token = i / lora::kChunkRanks % kTokens;
    const int is_up = i / lora::kChunkRanks / kTokens;
    if (is_up < 2) {
      const LoraPart part = is_up == 0 ? gate_part : up;
      const int index = is_up == 0 ? 0 : up_part;
      factors[is_up][token][rank] =
          token < num_tokens
              ? lora::load_factor(addition, place.index + token, part, index, first + rank)
              : 0.0F;
    }
    __syncthreads();
  };
  if (max_rank > 0) {
    load_factors(0);
    gate_b.add_first(factors[0], gates);
    up_b.add_first(factors[1], ups);
  }
  for (int first = lora::kChunkRanks; first < max_rank; first += lora::kChunkRanks) {
    __syncthreads();  // the last ones have been read
    load_factors(first);
    gate_b.add_next(first, factors[0], gates);
    up_b.add_next(first, factors[1], ups);
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    if (t >= num_tokens || !has_columns) continue;
    activate<T>(activation, gates[t]);
#pragma unroll
    for (int i = 0; i < kSize; ++i) gates[t][i] *= ups[t][i];
    store_floats(gates[t], out.at({rows[t], position.column}));
  }
}

template <typename T, int kSize>
__global__ void activation(Rows<T> x, Rows<T> out, int size, Activation activation) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const RowPosition position = row_position<kSize>(size);
  if (position.column >= size) return;
  float values[kSize];
  load_floats(x.at(position), values);
  activate<T>(activation, values);
  store_floats(values, out.at(position));
}

template <typename T, int kSize>
__global__ void add(Rows<T> x, Rows<float> out, int size) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const RowPosition position = row_position<kSize>(size);
  if (position.column >= size) return;
  float values[kSize];
  float sums[kSize];
  load_floats(x.at(position), values);
  load_floats(out.at(position), sums);
#pragma unroll
  for (int i = 0; i < kSize; ++i) sums[i] += values[i];
  store_floats(sums, out.at(position));
}

template <int kSize>
__global__ void softcap(Rows<float> x, int size, float cap) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const RowPosition position = row_position<kSize>(size);
  if (position.column >= size) return;
  float values[kSize];
  load_floats(x.at(position), values);
#pragma unroll
  for (int i = 0; i < kSize; ++i) values[i] = cap * tanhf(values[i] / cap);
  store_floats(values, x.at(position));
}

// Calls f with the vector size that suits both tensors: kVectorSize, or 1 where rows are not
// aligned or `size` is not a multiple of it.
template <typename X, typename Out, typename F>
void dispatch_vector_size(const Rows<X>& x, const Rows<Out>& out, int size, F f) {
  if (size % kVectorSize == 0 && rows_are_aligned<X, kVectorSize>(x.data, x.stride) &&
      rows_are_aligned<Out, kVectorSize>(out.data, out.stride)) {
    f(std::integral_constant<int, kVectorSize>());
  } else {
    f(std::integral_constant<int, 1>());
  }
}

// Makes the addition that was left to the activation, or has it made: then `args.x` has it.
template <typename T>
bool run_deferred(Stream& stream, const GatedActivationArgs& args) {
  const int64_t size = args.out.shape[1];
  const auto& parts = args.lora->part_out_features;
  // Gate and up are one part, or one each: a block has columns of one of each.
  const bool has_gated_parts = parts.size() == 1 || (parts.size() == 2 && parts[0] == size);
  const Rows<T> x(args.x);
  const Rows<T> out(args.out);
  if (!has_gated_parts || size % kVectorSize != 0 ||
      !rows_are_aligned<T, kVectorSize>(x.data, x.stride) ||
      !rows_are_aligned<T, kVectorSize>(out.data, out.stride)) {
    lora_expand_deferred(stream, *args.lora);
    return false;
  }
  constexpr int64_t kFewRows = 8;  // their threads have little work each, and start early
  const auto addition = lora::addition_params(*args.lora);
  if (args.x.rows() <= kFewRows) {
    launch(stream, "gated_activation", gated_activation_deferred<T, 2, 1>,
           row_grid<2>(args.x.rows(), size), x, out, static_cast<int>(size), args.activation,
           addition);
  } else {
    launch(stream, "gated_activation", gated_activation_deferred<T, 4, kLoraGroupTokens>,
           row_grid<4>(args.x.rows(), size), x, out, static_cast<int>(size), args.activation,
           addition);
  }
  return true;
}

}  // namespace

void cuda_gated_activation(Stream& stream, const GatedActivationArgs& args) {
  const int size = static_cast<int>(args.out.shape[1]);
  CHECK(args.x.shape[1] == 2 * size, "gate and up are ", args.x.shape[1], " wide");
  CHECK(args.x.dtype == args.out.dtype, to_string(args.x.dtype), " to ", to_string(args.out.dtype));
  if (args.x.rows() == 0) return;
  dispatch_float(args.x.dtype, [&](auto element) {
    using T = decltype(element);
    if constexpr (!std::is_same_v<T, float>) {
      if (args.lora && run_deferred<T>(stream, args)) return;
    }
    const Rows<T> x(args.x);
    const Rows<T> out(args.out);
    dispatch_vector_size(x, out, size, [&](auto vector_size) {
      constexpr int kSize = decltype(vector_size)::value;
      launch(stream, "gated_activation", gated_activation<T, kSize>,
             row_grid<kSize>(args.x.rows(), size), x, out, size, args.activation);
    });
  });
}

void cuda_activation(Stream& stream, const ActivationArgs& args) {
  const int size = static_cast<int>(args.x.shape[1]);
  CHECK(args.x.dtype == args.out.dtype, to_string(args.x.dtype), " to ", to_string(args.out.dtype));
  if (args.x.rows() == 0) return;
  dispatch_float(args.x.dtype, [&](auto element) {
    using T = decltype(element);
    const Rows<T> x(args.x);
    const Rows<T> out(args.out);
    dispatch_vector_size(x, out, size, [&](auto vector_size) {
      constexpr int kSize = decltype(vector_size)::value;
      launch(stream, "activation", activation<T, kSize>, row_grid<kSize>(args.x.rows(), size), x,
             out, size, args.activation);
    });
  });
}

void cuda_add(Stream& stream, const AddArgs& args) {
  const int size = static_cast<int>(args.x.shape[1]);
  CHECK(args.out.dtype == DType::kF32, "sum in ", to_string(args.out.dtype));
  if (args.x.rows() == 0) return;
  dispatch_float(args.x.dtype, [&](auto element) {
    using T = decltype(element);
    const Rows<T> x(args.x);
    const Rows<float> out(args.out);
    dispatch_vector_size(x, out, size, [&](auto vector_size) {
      constexpr int kSize = decltype(vector_size)::value;
      launch(stream, "add", add<T, kSize>, row_grid<kSize>(args.x.rows(), size), x, out, size);
    });
  });
}

void cuda_softcap(Stream& stream, const SoftcapArgs& args) {
  const int size = static_cast<int>(args.x.shape[1]);
  CHECK(args.x.dtype == DType::kF32, "softcap of ", to_string(args.x.dtype));
  if (args.x.rows() == 0) return;
  const Rows<float> x(args.x);
  dispatch_vector_size(x, x, size, [&](auto vector_size) {
    constexpr int kSize = decltype(vector_size)::value;
    launch(stream, "softcap", softcap<kSize>, row_grid<kSize>(args.x.rows(), size), x, size,
           args.cap);
  });
}

}  // namespace quire
