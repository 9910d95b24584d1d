// Matrix products of up to 16 rows on Hopper: the weight is read once, as fast as memory gives it.
//
// The weight is the 16-row operand of mma and x, transposed, the 8-column one.  A block takes up to
// 224 rows of the weight; its warps alternate over K in steps of 64, so that together they read a
// row from neighbouring addresses.  A warp has a ring of its own: TMA fills it with boxes, one or
// some for each step, the warp multiplies one and asks for the next into its place; no warp waits
// for another until the sums meet in shared memory, in a fixed order.
//
// Where there is one block for each processor, it takes more than half of the shared memory: blocks
// start while those of earlier kernels still hold processors, and else two of them would share one
// here and none run there.  A block starts where the last product's ends, fills its ring, and waits
// for the kernels before it: memory is read while small ones run and x arrives.
//
// K is permuted alike on both sides: thread q of a quad takes k = 8q .. 8q + 7 of 32, a vector of
// 16 bytes, where the instruction has pairs; a sum does not mind.  Rows are permuted, too: group g
// of the warp reads row_of_group(g), so that eight threads that load at once find 16 bytes each in
// different banks of the swizzled box.
// Sources: PTX ISA, mma.m16n8k16, cp.async.bulk.tensor and its 128-byte swizzle, griddepcontrol.
#include <algorithm>

#include "kernels/cuda/activate.cuh"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/tensor_map.h"

namespace quire {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kStepK = 64;       // a row of the swizzle: 128 bytes of 16-bit elements
constexpr int kStepBytes = 128;  // of a row
constexpr int kTileRows = 16;    // of the weight, in one product
constexpr int kTileColumns = 8;  // of x
constexpr int kGroupRows = 8;    // after which the swizzle repeats
constexpr int kMaxRows = 16;
constexpr int kMaxTiles = 7;  // of a single box
constexpr int kMaxBoxes = 7;  // of two tiles each
constexpr int kMaxSlots = 8;  // of a warp's ring
constexpr int kBarrierBytes = 8;
constexpr int kSumPadding = 4;  // with rows a multiple of 16: a warp's stores meet all banks

struct FewRowsParams {
  CUtensorMap weight_map;  // [n, k]; of the gated form [2 * n, k]
  const void* x;           // [m, k]
  int64_t x_stride;
  const float* bias;  // [n] or [2 * n], or null
  void* out;          // [m, n]
  int64_t out_stride;
  int m;
  int n;
  int k;
  bool out_is_f32;
  bool accumulate;
  Activation activation;
  int box_rows;     // of the weight; of the gated form half of them gate's, half up's
  int boxes;        // for each step of K
  int slots;        // of a warp's ring
  int warp_floats;  // of shared memory
};

// Sixteen rows of a fragment: groups of four threads have rows 0, 4, 1, 5, 2, 6, 3, 7.
__device__ inline int row_of_group(int group) { return group / 2 + group % 2 * 4; }

// A warp's share of the weight, and its ring.
template <bool kGated>
struct WarpWork {
  const FewRowsParams& p;
  int warp;
  int box_columns;   // of the result
  int first_column;  // of the block's own, of the result
  int end_column;    // the boxes may go beyond
  int num_steps;     // number warp, warp + kWarps, ... of all
  uint32_t ring;
  uint32_t barriers;

  __device__ WarpWork(const FewRowsParams& params, uint32_t shared)
      : p(params), warp(__shfl_sync(0xffffffffU, threadIdx.x / 32, 0)) {
    box_columns = kGated ? p.box_rows / 2 : p.box_rows;
    first_column = first_column_of(blockIdx.x);
    end_column = min(first_column_of(blockIdx.x + 1), p.n);
    num_steps = (p.k + (kWarps - warp) * kStepK - 1) / (kWarps * kStepK);
    const int warp_bytes = p.warp_floats * static_cast<int>(sizeof(float));
    ring = shared + warp * warp_bytes;
    barriers = shared + kWarps * warp_bytes + warp * kMaxSlots * kBarrierBytes;
  }

  // Tiles are spread over the blocks.
  __device__ int first_column_of(unsigned block) const {
    constexpr int kTileColumns = kGated ? kGroupRows : kTileRows;
    const int64_t num_tiles = (p.n + kTileColumns - 1) / kTileColumns;
    return static_cast<int>(num_tiles * block / gridDim.x) * kTileColumns;
  }

  __device__ int k_of(int step) const { return (warp + step * kWarps) * kStepK; }
  __device__ uint32_t slot(int index) const { return ring + index * p.box_rows * kStepBytes; }
  __device__ uint32_t barrier(int index) const { return barriers + index * kBarrierBytes; }

  // One thread asks for a box of the weights, counted over all steps, if there is one.
  __device__ void copy(int index, int slot_index, uint64_t policy) const {
    const int step = index / p.boxes;
    if (step >= num_steps) return;
    const int k = k_of(step);
    const int row = first_column + (index - step * p.boxes) * box_columns;
    const uint32_t to = slot(slot_index);
    const uint32_t full = barrier(slot_index);
    barrier_arrive_and_expect(full, p.box_rows * kStepBytes);
    copy_box_with_policy(to, full, p.weight_map, k, row, policy);
    if constexpr (kGated) {
      copy_box_with_policy(to + box_columns * kStepBytes, full, p.weight_map, k, p.n + row, policy);
    }
  }

  // What one thread does before x is there.
  __device__ void begin(uint64_t policy) const {
    for (int i = 0; i < p.slots; ++i) barrier_init(barrier(i), 1);
    barrier_init_fence();
    for (int i = 0; i < p.slots; ++i) copy(i, i, policy);
  }
};

// This thread's vectors of x for one step: of row 8 * i + lane / 4, in two halves of 32 k.
template <typename T, int kColumnTiles>
__device__ inline void load_x(const FewRowsParams& p, int first_k,
                              uint4 (&vectors)[kColumnTiles][2]) {
  const int lane = threadIdx.x % 32;
  const int k = first_k + lane % 4 * 8;
#pragma unroll
  for (int i = 0; i < kColumnTiles; ++i) {
    const int row = i * kTileColumns + lane / 4;
    const T* from = static_cast<const T*>(p.x) + row * p.x_stride + k;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const bool wanted = row < p.m && k + half * 32 < p.k;
      vectors[i][half] =
          wanted ? __ldcg(reinterpret_cast<const uint4*>(from + half * 32)) : uint4{};
    }
  }
}

__device__ inline uint4 load_shared(uint32_t address) {
  uint4 value;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

// sums += the products of a box.  upper: the shared address of this thread's row of the first tile.
template <typename T, int kTiles, int kColumnTiles>
__device__ inline void multiply_box(uint32_t upper, int box_rows, const uint4 (&x)[kColumnTiles][2],
                                    float (&sums)[kTiles][kColumnTiles][4]) {
  const int lane = threadIdx.x % 32;
  const uint32_t lower = upper + box_rows / 2 * kStepBytes;
  const int chunk = lane % 4 ^ row_of_group(lane / 4);  // of 16 bytes; swizzled
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    if (tile * kTileRows >= box_rows) break;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int offset = tile * kGroupRows * kStepBytes + (chunk ^ half * 4) * 16;
      const uint4 a = load_shared(upper + offset);
      const uint4 b = load_shared(lower + offset);
      const uint32_t first[4] = {a.x, b.x, a.y, b.y};
      const uint32_t second[4] = {a.z, b.z, a.w, b.w};
#pragma unroll
      for (int i = 0; i < kColumnTiles; ++i) {
        multiply_add<T>(sums[tile][i], first, x[i][half].x, x[i][half].y);
        multiply_add<T>(sums[tile][i], second, x[i][half].z, x[i][half].w);
      }
    }
  }
}

// A place in the ring, and the parity of the phase in which it is filled.
struct RingPlace {
  int slot = 0;
  uint32_t parity = 0;
  __device__ void advance(int num_slots) {
    if (++slot < num_slots) return;
    slot = 0;
    parity ^= 1;
  }
};

// A warp's sums over its steps.
template <typename T, int kBoxes, int kTiles, int kColumnTiles, bool kGated>
__device__ void multiply_steps(const WarpWork<kGated>& work, uint64_t policy,
                               float (&sums)[kBoxes][kTiles][kColumnTiles][4]) {
  const FewRowsParams& p = work.p;
  const int lane = threadIdx.x % 32;
  const uint32_t row_offset = row_of_group(lane / 4) * kStepBytes;
  uint4 x[kColumnTiles][2];
  load_x<T>(p, work.k_of(0), x);
  RingPlace place;
  int next_box = p.slots;
  for (int step = 0; step < work.num_steps; ++step) {
    uint4 next_x[kColumnTiles][2];
    load_x<T>(p, work.k_of(step + 1), next_x);
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) {
      if (box >= p.boxes) break;
      barrier_wait(work.barrier(place.slot), place.parity);
      multiply_box<T>(work.slot(place.slot) + row_offset, p.box_rows, x, sums[box]);
      __syncwarp();
      if (lane == 0) work.copy(next_box, place.slot, policy);
      ++next_box;
      place.advance(p.slots);
    }
#pragma unroll
    for (int i = 0; i < kColumnTiles; ++i) {
      x[i][0] = next_x[i][0];
      x[i][1] = next_x[i][1];
    }
  }
}

// Puts a warp's sums of a box in place of its ring: [column of x][row of the box].
template <int kTiles, int kColumnTiles>
__device__ void store_sums(const float (&sums)[kTiles][kColumnTiles][4], int box_rows, float* to) {
  const int lane = threadIdx.x % 32;
  const int stride = box_rows + kSumPadding;
  to += lane % 4 * 2 * stride + row_of_group(lane / 4);
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    if (tile * kTileRows >= box_rows) break;
#pragma unroll
    for (int i = 0; i < kColumnTiles; ++i) {
      float* at = to + i * kTileColumns * stride + tile * kGroupRows;
      at[0] = sums[tile][i][0];
      at[stride] = sums[tile][i][1];
      at[box_rows / 2] = sums[tile][i][2];
      at[stride + box_rows / 2] = sums[tile][i][3];
    }
  }
}

// One result of the block: number `index` of m rows of equally many columns.
template <bool kGated>
struct OutPlace {
  int row;
  int box;      // of the block
  int box_row;  // of the weight
  int column;
  bool exists;

  __device__ OutPlace(const WarpWork<kGated>& work, int index) {
    const int columns = work.p.boxes * work.box_columns;
    row = index / columns;
    box_row = index % columns;
    column = work.first_column + box_row;
    box = box_row / work.box_columns;
    box_row -= box * work.box_columns;
    exists = row < work.p.m && column < work.end_column;
  }
};

// What the sums are added to: the bias, and what `out` holds.
template <typename T, bool kGated>
__device__ float load_start(const FewRowsParams& p, const OutPlace<kGated>& place) {
  if (!place.exists || kGated) return 0.0F;
  float start = p.bias == nullptr ? 0.0F : p.bias[place.column];
  if (p.accumulate) {
    const int64_t index = place.row * p.out_stride + place.column;
    start += p.out_is_f32 ? static_cast<const float*>(p.out)[index]
                          : to_float(static_cast<const T*>(p.out)[index]);
  }
  return start;
}

// The sum over all warps, in their order.
__device__ inline float add_warps(const float* first, int warp_floats) {
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) sum += first[i * warp_floats];
  return sum;
}

template <typename T, int kColumnTiles, bool kGated>
__device__ void store_result(const FewRowsParams& p, const OutPlace<kGated>& place, float start,
                             const float* sums) {
  const int stride = p.box_rows + kSumPadding;
  const float* first =
      sums + (place.box * kColumnTiles * kTileColumns + place.row) * stride + place.box_row;
  float value = start + add_warps(first, p.warp_floats);
  if constexpr (kGated) {
    float up = add_warps(first + p.box_rows / 2, p.warp_floats);
    if (p.bias != nullptr) {
      value += p.bias[place.column];
      up += p.bias[p.n + place.column];
    }
    float gate[1] = {value};
    activate<T>(p.activation, gate);
    value = gate[0] * up;
  }
  const int64_t index = place.row * p.out_stride + place.column;
  if (p.out_is_f32) {
    static_cast<float*>(p.out)[index] = value;
  } else {
    static_cast<T*>(p.out)[index] = from_float<T>(value);
  }
}

template <typename T, int kBoxes, int kTiles, int kColumnTiles, bool kGated>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_few_rows_kernel(const __grid_constant__ FewRowsParams p) {
  extern __shared__ __align__(1024) unsigned char bytes[];
  allow_next_kernel();
  const WarpWork<kGated> work(p, shared_address(bytes));
  const uint64_t policy = evict_first_policy();
  if (threadIdx.x % 32 == 0) work.begin(policy);
  __syncwarp();
  wait_for_previous_kernel();
  OutPlace<kGated> place(work, threadIdx.x);
  float start = load_start<T>(p, place);  // early, since it takes as long as the first weights
  auto* all_sums = reinterpret_cast<float*>(bytes);
  {
    float sums[kBoxes][kTiles][kColumnTiles][4] = {};
    multiply_steps<T>(work, policy, sums);
    float* to = all_sums + work.warp * p.warp_floats;
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) {
      if (box >= p.boxes) break;
      store_sums(sums[box], p.box_rows,
                 to + box * kColumnTiles * kTileColumns * (p.box_rows + kSumPadding));
    }
  }
  __syncthreads();
  for (int index = threadIdx.x; place.row < p.m;) {
    if (place.exists) store_result<T, kColumnTiles>(p, place, start, all_sums);
    index += kThreads;
    place = OutPlace<kGated>(work, index);
    start = load_start<T>(p, place);
  }
}

constexpr int ceil_div(int a, int b) { return a / b + (a % b != 0); }
constexpr int round_up(int a, int unit) { return ceil_div(a, unit) * unit; }

struct Plan {
  int num_blocks = 0;
  int boxes = 1;
  int box_rows = 0;
  int slots = 0;
  int warp_bytes = 0;  // of shared memory
  int shared_bytes = 0;
};

constexpr int kSmallBoxRows = 2 * kTileRows;  // of one of several

// The rows of a block's boxes: as many as make one block for each processor, or else few, so that
// many small blocks keep all processors busy to the end.
void choose_boxes(int weight_rows, int num_sms, Plan& plan) {
  constexpr int kManyRows = 48;  // measured with 128256 x 4096
  const int rows = round_up(ceil_div(weight_rows, num_sms), kTileRows);
  if (rows <= kMaxTiles * kTileRows) {
    plan.box_rows = rows;
  } else if (rows <= kMaxBoxes * kSmallBoxRows) {
    plan.boxes = ceil_div(rows, kSmallBoxRows);
    plan.box_rows = kSmallBoxRows;
  } else {
    plan.box_rows = kManyRows;
  }
  plan.num_blocks = ceil_div(weight_rows, plan.boxes * plan.box_rows);
  if (ceil_div(weight_rows, kTileRows) < num_sms) return;
  plan.num_blocks = round_up(plan.num_blocks, num_sms);  // every processor gets equally many
}

Plan choose_plan(int m, int weight_rows, int k) {
  constexpr int kMaxRingBytes = 112 * 1024;  // deeper ones gained nothing
  constexpr int kAloneBytes = 116 * 1024;    // of a processor's 228 KB
  constexpr int kSwizzleBytes = 1024;        // after which its pattern repeats
  const int num_sms = cuda_properties().num_sms;
  Plan plan;
  choose_boxes(weight_rows, num_sms, plan);
  const int slot_bytes = plan.box_rows * kStepBytes;
  const int steps = plan.boxes * ceil_div(k, kWarps * kStepK);
  plan.slots = std::clamp(kMaxRingBytes / (kWarps * slot_bytes), 1, std::min(kMaxSlots, steps));
  const int sum_bytes = plan.boxes * round_up(m, kTileColumns) * (plan.box_rows + kSumPadding) * 4;
  plan.warp_bytes = std::max(plan.slots * slot_bytes, round_up(sum_bytes, kSwizzleBytes));
  plan.shared_bytes = kWarps * (plan.warp_bytes + kMaxSlots * kBarrierBytes);
  if (plan.num_blocks <= num_sms) plan.shared_bytes = std::max(plan.shared_bytes, kAloneBytes);
  return plan;
}

bool is_aligned(const void* data, int64_t stride_bytes) {
  constexpr int64_t kVectorBytes = 16;
  return reinterpret_cast<uintptr_t>(data) % kVectorBytes == 0 && stride_bytes % kVectorBytes == 0;
}

bool is_supported(const TensorView& x, const PackedWeight& weight) {
  if (cuda_properties().arch != 90 || weight.dtype == DType::kF32) return false;
  if (x.rows() > kMaxRows || weight.in_features < kStepK) return false;
  const int64_t x_stride = x.rows() == 1 ? 0 : x.row_stride * size_of(x.dtype);
  return is_aligned(x.data, x_stride) &&
         is_aligned(weight.data.data(), weight.in_features * size_of(weight.dtype));
}

FewRowsParams make_params(const GatedGemmArgs& args, const Plan& plan, bool is_gated) {
  const PackedWeight& weight = *args.weight;
  TensorMapArgs<2> map;
  map.data = weight.data.data();
  map.sizes = {static_cast<uint64_t>(weight.in_features),
               static_cast<uint64_t>(weight.out_features)};
  map.strides = {static_cast<uint64_t>(weight.in_features * size_of(weight.dtype))};
  map.box = {kStepK, static_cast<uint32_t>(is_gated ? plan.box_rows / 2 : plan.box_rows)};
  FewRowsParams params{};
  params.weight_map = tensor_map(map);
  params.x = args.x.data;
  params.x_stride = args.x.row_stride;
  params.bias = args.bias.as<float>();
  params.out = args.out.data;
  params.out_stride = args.out.row_stride;
  params.m = static_cast<int>(args.x.rows());
  params.n = static_cast<int>(args.out.shape[1]);
  params.k = static_cast<int>(weight.in_features);
  params.out_is_f32 = args.out.dtype == DType::kF32;
  params.activation = args.activation;
  params.box_rows = plan.box_rows;
  params.boxes = plan.boxes;
  params.slots = plan.slots;
  params.warp_floats = plan.warp_bytes / static_cast<int>(sizeof(float));
  return params;
}

template <typename T, bool kGated>
void launch_few_rows(Stream& stream, const FewRowsParams& params, const Plan& plan) {
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(plan.num_blocks)),
                          .block = dim3(kThreads),
                          .shared_bytes = plan.shared_bytes};
  const auto run = [&](auto kernel) {
    // A processor does not wait to change its share between kernels.
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared),
               "gemm_few_rows");
    launch(stream, "gemm_few_rows", kernel, shape, params);
  };
  constexpr int kSmallTiles = kSmallBoxRows / kTileRows;
  const bool is_narrow = params.m <= kTileColumns;
  if (plan.boxes == 1) {
    if (is_narrow) return run(gemm_few_rows_kernel<T, 1, kMaxTiles, 1, kGated>);
    return run(gemm_few_rows_kernel<T, 1, kMaxTiles, 2, kGated>);
  }
  if (is_narrow) return run(gemm_few_rows_kernel<T, kMaxBoxes, kSmallTiles, 1, kGated>);
  run(gemm_few_rows_kernel<T, kMaxBoxes, kSmallTiles, 2, kGated>);
}

template <bool kGated>
void run_plan(Stream& stream, const FewRowsParams& params, DType dtype, const Plan& plan) {
  if (dtype == DType::kF16) {
    launch_few_rows<Half, kGated>(stream, params, plan);
  } else {
    launch_few_rows<BFloat16, kGated>(stream, params, plan);
  }
}

Plan plan_of(const TensorView& x, const PackedWeight& weight) {
  return choose_plan(static_cast<int>(x.rows()), static_cast<int>(weight.out_features),
                     static_cast<int>(weight.in_features));
}

}  // namespace

bool gemm_few_rows_sm90a(Stream& stream, const GemmArgs& args) {
  if (!is_supported(args.x, *args.weight)) return false;
  const Plan plan = plan_of(args.x, *args.weight);
  FewRowsParams params = make_params(
      {.x = args.x, .weight = args.weight, .bias = args.bias, .out = args.out}, plan, false);
  params.accumulate = args.accumulate;
  run_plan<false>(stream, params, args.weight->dtype, plan);
  return true;
}

bool gated_gemm_few_rows_sm90a(Stream& stream, const GatedGemmArgs& args) {
  if (!is_supported(args.x, *args.weight)) return false;
  const Plan plan = plan_of(args.x, *args.weight);
  run_plan<true>(stream, make_params(args, plan, true), args.weight->dtype, plan);
  return true;
}

}  // namespace quire
