// Functions of the MLP's activations, sums and soft caps: one thread per vector of a row.
#include "kernels/cuda/activate.cuh"
#include "kernels/cuda/cuda_kernels.h"
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

}  // namespace

void cuda_gated_activation(Stream& stream, const GatedActivationArgs& args) {
  const int size = static_cast<int>(args.out.shape[1]);
  CHECK(args.x.shape[1] == 2 * size, "gate and up are ", args.x.shape[1], " wide");
  CHECK(args.x.dtype == args.out.dtype, to_string(args.x.dtype), " to ", to_string(args.out.dtype));
  if (args.x.rows() == 0) return;
  dispatch_float(args.x.dtype, [&](auto element) {
    using T = decltype(element);
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
