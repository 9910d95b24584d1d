// Matrix products of up to 64 rows on Hopper: the weight is read once, as fast as memory gives it.
//
// A block takes some rows of the weight and all of x.  One warp fills a ring in shared memory: TMA
// brings 64 columns of both into each slot.  Two warpgroups take slots by turns and multiply with
// wgmma, where the weight is the 64-row operand and x, transposed, the one of few columns; so the
// sums take few registers.  One warpgroup alone would wait for its products longer than memory
// needs for the next slot.
//
// Where blocks would have less than half a tile of rows, two of them, a cluster, take twice as many
// and half of K each.  Sums of warpgroups and blocks meet in shared memory, in a fixed order.
// Clusters of four are no help: GPUs of one model differ in how many of them run at once.
//
// A block has a processor to itself, and most of its shared memory: blocks start while those of
// earlier kernels still hold processors, and else two of them would share one here and none run
// there.  A block starts where the last product's ends, fills its ring with weights, and waits for
// the kernels before it: memory is read while small ones run and x arrives.
//
// Operands reach beyond their boxes to the next multiple of 64 rows or of the kernel's columns.
// What lies there makes sums that nobody reads.
// Sources: PTX ISA, wgmma, cp.async.bulk.tensor and its 128-byte swizzle, griddepcontrol.
#include <algorithm>
#include <optional>

#include "kernels/cuda/activate.cuh"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/sm90_wgmma.cuh"
#include "kernels/cuda/tensor_map.h"

namespace quire {
namespace {

constexpr int kGroups = 2;  // warpgroups that multiply, by turns
constexpr int kGroupWarps = kWarpgroupThreads / 32;
constexpr int kMultiplyThreads = kGroups * kWarpgroupThreads;
constexpr int kThreads = kMultiplyThreads + 32;  // and a warp that fills the ring
constexpr int kStepK = 64;                       // a row of the swizzle: 128 bytes
constexpr int kRowBytes = 128;                   // of a slot
constexpr int kSwizzleRows = 8;                  // after which the swizzle repeats
constexpr int kSwizzleBytes = kSwizzleRows * kRowBytes;
constexpr int kTileRows = 64;  // of the weight, in one product
constexpr int kMaxTiles = 4;
constexpr int kMaxSplits = 2;
constexpr int kMaxSlots = 32;
constexpr int kBarrierBytes = 8;
constexpr int kHeaderBytes = 1024;  // of shared memory: the barriers
constexpr int kSumPadding = 4;      // with rows a multiple of 16: a warp's stores meet all banks
constexpr int kVector = 4;          // columns that a thread stores
static_assert(2 * kMaxSlots * kBarrierBytes <= kHeaderBytes);

struct FewRowsParams {
  CUtensorMap weight_map;  // [n, k]; of the gated form [2 * n, k]
  CUtensorMap x_map;       // [m, k]
  const float* bias;       // [n] or [2 * n], or null
  void* out;               // [m, n]
  int64_t out_stride;
  int m;
  int n;
  int k;
  bool out_is_f32;
  bool accumulate;
  bool is_gated;
  bool has_vectors;  // out may be read and written four columns at a time
  Activation activation;
  int block_rows;  // of the weight; of the gated form half of them gate's, half up's
  int x_rows;      // of a slot
  int splits;      // blocks of a cluster, which share out K
  int slots;
};

// A block's share of the product, and its ring.
struct BlockWork {
  const FewRowsParams& p;
  int columns;       // of the result
  int first_column;  // the last block's go beyond the end
  int rank;          // in the cluster
  int first_step;    // of K
  int num_steps;
  uint32_t shared;

  __device__ BlockWork(const FewRowsParams& params, uint32_t shared_memory)
      : p(params), shared(shared_memory) {
    const auto block = static_cast<int>(blockIdx.x);
    columns = p.is_gated ? p.block_rows / 2 : p.block_rows;
    first_column = block / p.splits * columns;
    rank = block % p.splits;
    const int all_steps = (p.k + kStepK - 1) / kStepK;
    first_step = all_steps * rank / p.splits;
    num_steps = all_steps * (rank + 1) / p.splits - first_step;
  }

  __device__ int slot_bytes() const { return (p.block_rows + p.x_rows) * kRowBytes; }
  __device__ uint32_t slot(int index) const { return shared + kHeaderBytes + index * slot_bytes(); }
  __device__ uint32_t x_of(uint32_t slot) const { return slot + p.block_rows * kRowBytes; }
  __device__ uint32_t full(int index) const { return shared + index * kBarrierBytes; }
  __device__ uint32_t empty(int index) const { return full(kMaxSlots + index); }

  __device__ void copy_weight(int step, int index, uint64_t policy) const {
    const int k = (first_step + step) * kStepK;
    const uint32_t to = slot(index);
    barrier_arrive_and_expect(full(index), slot_bytes());
    copy_box_with_policy(to, full(index), p.weight_map, k, first_column, policy);
    if (p.is_gated) {
      copy_box_with_policy(to + columns * kRowBytes, full(index), p.weight_map, k,
                           p.n + first_column, policy);
    }
  }
  __device__ void copy_x(int step, int index) const {
    copy_box(x_of(slot(index)), full(index), p.x_map, (first_step + step) * kStepK, 0);
  }
};

// A place in the ring, and the parity of the phase in which it is filled.
struct RingPlace {
  int slot = 0;
  uint32_t parity = 0;
  __device__ void advance(int count, int num_slots) {
    slot += count;
    if (slot < num_slots) return;
    slot -= num_slots;
    parity ^= 1;
  }
};

// What one thread does before x is there.
__device__ void begin_ring(const BlockWork& work, uint64_t policy) {
  for (int i = 0; i < work.p.slots; ++i) {
    barrier_init(work.full(i), 1);
    barrier_init(work.empty(i), kGroupWarps);
  }
  barrier_init_fence();
  for (int i = 0; i < min(work.p.slots, work.num_steps); ++i) work.copy_weight(i, i, policy);
}

// And its warp when it is.
__device__ void fill_ring(const BlockWork& work, uint64_t policy) {
  const bool copies = threadIdx.x % 32 == 0;
  const int num_begun = min(work.p.slots, work.num_steps);
  for (int i = 0; copies && i < num_begun; ++i) work.copy_x(i, i);
  RingPlace place;
  for (int step = num_begun; step < work.num_steps; ++step) {
    barrier_wait(work.empty(place.slot), place.parity);
    if (copies) {
      work.copy_weight(step, place.slot, policy);
      work.copy_x(step, place.slot);
    }
    __syncwarp();
    place.advance(1, work.p.slots);
  }
}

// A warpgroup's sums over its steps.
template <typename T, int kTiles, int kColumns>
__device__ void multiply_steps(const BlockWork& work, float (&sums)[kTiles][kColumns / 2]) {
  constexpr int kInstructionK = 16;
  constexpr int kInstructionBytes = kInstructionK * 2;
  RingPlace place{.slot = static_cast<int>(threadIdx.x) / kWarpgroupThreads};
  for (int step = place.slot; step < work.num_steps; step += kGroups) {
    barrier_wait(work.full(place.slot), place.parity);
    const uint32_t slot = work.slot(place.slot);
    const uint64_t a = wgmma_descriptor(slot, kSwizzleBytes, 0);
    const uint64_t b = wgmma_descriptor(work.x_of(slot), kSwizzleBytes, 0);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < kStepK / kInstructionK; ++i) {
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const int offset = tile * kTileRows * kRowBytes + i * kInstructionBytes;
        wgmma_shared(T{}, sums[tile], a + offset / 16, b + i * kInstructionBytes / 16, 1);
      }
    }
    wgmma_commit();
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) wgmma_wait<0>(sums[tile]);
    if (threadIdx.x % 32 == 0) barrier_arrive(work.empty(place.slot));
    place.advance(kGroups, work.p.slots);
  }
}

// Where a block's sums lie when they have taken the ring's place: [warpgroup][row of x][its row].
struct SumPlaces {
  int stride;
  int group_size;
  __device__ explicit SumPlaces(const FewRowsParams& p)
      : stride(p.block_rows + kSumPadding), group_size(p.m * stride) {}
};

template <int kTiles, int kColumns>
__device__ void store_sums(const FewRowsParams& p, const float (&sums)[kTiles][kColumns / 2],
                           float* to) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32 % kGroupWarps;
  const SumPlaces places(p);
  to += threadIdx.x / kWarpgroupThreads * places.group_size;
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
    for (int i = 0; i < kColumns / 2; ++i) {
      const int row = tile * kTileRows + warp * 16 + lane / 4 + i / 2 % 2 * 8;
      const int column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      if (row < p.block_rows && column < p.m) to[column * places.stride + row] = sums[tile][i];
    }
  }
}

struct Four {
  float values[kVector];
};

__device__ inline void add(Four& four, const Four& other) {
#pragma unroll
  for (int e = 0; e < kVector; ++e) four.values[e] += other.values[e];
}

// Four columns of the result, in the making.
struct Piece {
  int row = 0;
  int column = 0;
  int count = 0;  // of the four that exist
  Four parts[kMaxSplits * kGroups];
  Four up_parts[kMaxSplits * kGroups];
  Four start;
};

// The sums of the cluster's blocks and their warpgroups.
__device__ inline void load_parts(const FewRowsParams& p, float* sums,
                                  Four (&parts)[kMaxSplits * kGroups]) {
#pragma unroll
  for (int i = 0; i < kMaxSplits; ++i) {
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      float* own = sums + group * SumPlaces(p).group_size;
      const float* from = p.splits > 1 ? of_block(own, i) : own;
      parts[i * kGroups + group] = i < p.splits ? *reinterpret_cast<const Four*>(from) : Four{};
    }
  }
}

__device__ inline Four sum_of(const Four (&parts)[kMaxSplits * kGroups], const float* bias,
                              int count) {
  Four total = parts[0];
#pragma unroll
  for (int i = 1; i < kMaxSplits * kGroups; ++i) add(total, parts[i]);
  if (bias == nullptr) return total;
#pragma unroll
  for (int e = 0; e < kVector; ++e) {
    if (e < count) total.values[e] += bias[e];
  }
  return total;
}

template <typename Out>
struct alignas(kVector * sizeof(Out)) OutVector {
  Out values[kVector];
};

// What the product is added to.
template <typename Out>
__device__ Four load_start(const FewRowsParams& p, const Piece& piece) {
  Four start{};
  if (!p.accumulate) return start;
  const Out* out = static_cast<const Out*>(p.out) + piece.row * p.out_stride + piece.column;
  if (p.has_vectors && piece.count == kVector) {
    const auto vector = *reinterpret_cast<const OutVector<Out>*>(out);
#pragma unroll
    for (int e = 0; e < kVector; ++e) start.values[e] = to_float(vector.values[e]);
    return start;
  }
  for (int e = 0; e < piece.count; ++e) start.values[e] = to_float(out[e]);
  return start;
}

template <typename Out>
__device__ void store_four(const FewRowsParams& p, const Piece& piece, const Four& four) {
  Out* out = static_cast<Out*>(p.out) + piece.row * p.out_stride + piece.column;
  if (p.has_vectors && piece.count == kVector) {
    OutVector<Out> vector;
#pragma unroll
    for (int e = 0; e < kVector; ++e) vector.values[e] = from_float<Out>(four.values[e]);
    *reinterpret_cast<OutVector<Out>*>(out) = vector;
    return;
  }
  for (int e = 0; e < piece.count; ++e) out[e] = from_float<Out>(four.values[e]);
}

template <typename T>
__device__ void finish_piece(const FewRowsParams& p, const Piece& piece) {
  const float* bias = p.bias == nullptr ? nullptr : p.bias + piece.column;
  Four four = sum_of(piece.parts, bias, piece.count);
  if (p.is_gated) {
    const Four up = sum_of(piece.up_parts, bias == nullptr ? nullptr : bias + p.n, piece.count);
    activate<T>(p.activation, four.values);
#pragma unroll
    for (int e = 0; e < kVector; ++e) four.values[e] *= up.values[e];
  }
  add(four, piece.start);
  if (p.out_is_f32) {
    store_four<float>(p, piece, four);
  } else {
    store_four<T>(p, piece, four);
  }
}

// Each block of a cluster stores its share of the columns, by the threads that have multiplied.  A
// thread loads all of some pieces before it stores one.
template <typename T>
__device__ void store_results(const BlockWork& work, float* sums) {
  constexpr int kAtOnce = 2;
  const FewRowsParams& p = work.p;
  const int num_vectors = work.columns / kVector;
  const int first = num_vectors * work.rank / p.splits;
  const int count = num_vectors * (work.rank + 1) / p.splits - first;
  for (int begin = threadIdx.x; begin < p.m * count; begin += kAtOnce * kMultiplyThreads) {
    Piece pieces[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      Piece& piece = pieces[i];
      const int index = begin + i * kMultiplyThreads;
      piece.row = index / count;
      const int block_column = (first + index - piece.row * count) * kVector;
      piece.column = work.first_column + block_column;
      piece.count = piece.row < p.m ? min(kVector, p.n - piece.column) : 0;
      if (piece.count <= 0) continue;
      float* sum = sums + piece.row * SumPlaces(p).stride + block_column;
      load_parts(p, sum, piece.parts);
      if (p.is_gated) load_parts(p, sum + work.columns, piece.up_parts);
      piece.start = p.out_is_f32 ? load_start<float>(p, piece) : load_start<T>(p, piece);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      if (pieces[i].count > 0) finish_piece<T>(p, pieces[i]);
    }
  }
}

template <typename T, int kTiles, int kColumns>
__global__ void __launch_bounds__(kThreads, 1)
    gemm_few_rows_kernel(const __grid_constant__ FewRowsParams p) {
  extern __shared__ __align__(1024) unsigned char bytes[];
  const BlockWork work(p, shared_address(bytes));
  const uint64_t policy = evict_first_policy();
  if (threadIdx.x == kMultiplyThreads) begin_ring(work, policy);
  __syncthreads();
  wait_for_previous_kernel();
  allow_next_kernel();  // not before x is there
  auto* all_sums = reinterpret_cast<float*>(bytes + kHeaderBytes);
  if (threadIdx.x >= kMultiplyThreads) {
    fill_ring(work, policy);
  } else {
    float sums[kTiles][kColumns / 2] = {};
    multiply_steps<T, kTiles, kColumns>(work, sums);
    part_wait(1, kMultiplyThreads);  // the ring is read
    store_sums<kTiles, kColumns>(p, sums, all_sums);
    part_wait(1, kMultiplyThreads);
  }
  if (p.splits > 1) cluster_barrier();
  if (threadIdx.x < kMultiplyThreads) store_results<T>(work, all_sums);
  if (p.splits > 1) cluster_barrier();  // the sums are read
}

constexpr int ceil_div(int a, int b) { return a / b + (a % b != 0); }
constexpr int round_up(int a, int unit) { return ceil_div(a, unit) * unit; }

struct Plan {
  int num_blocks = 0;
  int block_rows = 0;
  int splits = 1;
  int slots = 0;
  int columns = 0;  // of the kernel: m or more
  int shared_bytes = 0;
};

constexpr int kBlockUnit = 16;  // rows

int tiles_of(int block_rows) {
  return block_rows <= 2 * kTileRows ? ceil_div(block_rows, kTileRows) : kMaxTiles;
}

// Nothing if there are more rows of the weight than blocks for each processor can have.
std::optional<Plan> choose_plan(int m, int weight_rows, bool leaves_room) {
  constexpr int kReservedBytes = 1024;  // for each block
  constexpr int kRoomBytes = kBlocksBesideProduct * (kSharedBytesBesideProduct + kReservedBytes);
  const int max_shared_bytes = 226 * 1024 - (leaves_room ? kRoomBytes : 0);
  constexpr int kAloneBytes = 116 * 1024;  // of a processor's 228 KB
  const int num_sms = cuda_properties().num_sms;
  const auto rows_of = [&](int num_groups) {
    return round_up(ceil_div(weight_rows, num_groups), kBlockUnit);
  };
  Plan plan;
  plan.block_rows = rows_of(num_sms);
  if (plan.block_rows > kMaxTiles * kTileRows) return std::nullopt;
  if (plan.block_rows <= kTileRows / 2) {
    plan.splits = kMaxSplits;
    plan.block_rows = rows_of(num_sms / kMaxSplits);
  }
  plan.num_blocks = ceil_div(weight_rows, plan.block_rows) * plan.splits;
  plan.columns = m <= 8 ? 8 : m <= 16 ? 16 : m <= 32 ? 32 : 64;
  const int slot_bytes = (plan.block_rows + round_up(m, kSwizzleRows)) * kRowBytes;
  // Of the last slot; the others reach into the next.
  const int operand_bytes =
      std::max(tiles_of(plan.block_rows) * kTileRows, plan.block_rows + plan.columns) * kRowBytes;
  const int ring_bytes = max_shared_bytes - kHeaderBytes - (operand_bytes - slot_bytes);
  plan.slots = std::min(ring_bytes / slot_bytes, kMaxSlots) / kGroups * kGroups;
  CHECK(plan.slots >= kGroups, "slots of ", slot_bytes, " bytes");
  const int sum_bytes =
      kGroups * m * (plan.block_rows + kSumPadding) * static_cast<int>(sizeof(float));
  plan.shared_bytes =
      kHeaderBytes + std::max(plan.slots * slot_bytes + operand_bytes - slot_bytes, sum_bytes);
  plan.shared_bytes = std::max(plan.shared_bytes, kAloneBytes);
  return plan;
}

bool is_aligned(const void* data, int64_t stride_bytes) {
  constexpr int64_t kVectorBytes = 16;
  return reinterpret_cast<uintptr_t>(data) % kVectorBytes == 0 && stride_bytes % kVectorBytes == 0;
}

bool is_supported(const TensorView& x, const PackedWeight& weight) {
  if (cuda_properties().arch != 90 || weight.dtype == DType::kF32) return false;
  if (x.rows() > kMaxFewRows || weight.in_features < kStepK) return false;
  const int64_t x_stride = x.rows() == 1 ? 0 : x.row_stride * size_of(x.dtype);
  return is_aligned(x.data, x_stride) &&
         is_aligned(weight.data.data(), weight.in_features * size_of(weight.dtype));
}

FewRowsParams make_params(const GemmArgs& args, const Plan& plan, std::optional<Activation> gate) {
  const PackedWeight& weight = *args.weight;
  FewRowsParams params{};
  const auto map_of = [&](const void* data, int64_t rows, int64_t stride, int box_rows) {
    TensorMapArgs<2> map;
    map.data = data;
    map.sizes = {static_cast<uint64_t>(weight.in_features), static_cast<uint64_t>(rows)};
    map.strides = {static_cast<uint64_t>(stride * size_of(weight.dtype))};
    map.box = {kStepK, static_cast<uint32_t>(box_rows)};
    return tensor_map(map);
  };
  params.m = static_cast<int>(args.x.rows());
  params.x_rows = round_up(params.m, kSwizzleRows);
  params.weight_map = map_of(weight.data.data(), weight.out_features, weight.in_features,
                             gate ? plan.block_rows / 2 : plan.block_rows);
  const int64_t x_stride = params.m == 1 ? weight.in_features : args.x.row_stride;
  params.x_map = map_of(args.x.data, params.m, x_stride, params.x_rows);
  params.bias = args.bias.as<float>();
  params.out = args.out.data;
  params.out_stride = args.out.row_stride;
  params.n = static_cast<int>(args.out.shape[1]);
  params.k = static_cast<int>(weight.in_features);
  params.out_is_f32 = args.out.dtype == DType::kF32;
  params.has_vectors =
      params.out_stride % kVector == 0 &&
      reinterpret_cast<uintptr_t>(params.out) % (kVector * size_of(args.out.dtype)) == 0;
  params.accumulate = args.accumulate;
  params.is_gated = gate.has_value();
  params.activation = gate.value_or(Activation::kSilu);
  params.block_rows = plan.block_rows;
  params.splits = plan.splits;
  params.slots = plan.slots;
  return params;
}

template <typename T, int kTiles, int kColumns>
void launch_kernel(Stream& stream, const FewRowsParams& params, const Plan& plan) {
  const auto kernel = gemm_few_rows_kernel<T, kTiles, kColumns>;
  // A processor does not wait to change its share between kernels.
  check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                  cudaSharedmemCarveoutMaxShared),
             "gemm_few_rows");
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(plan.num_blocks)),
                          .block = dim3(kThreads),
                          .shared_bytes = plan.shared_bytes,
                          .cluster_size = plan.splits};
  launch(stream, "gemm_few_rows", kernel, shape, params);
}

template <typename T, int kColumns>
void launch_tiles(Stream& stream, const FewRowsParams& params, const Plan& plan) {
  switch (tiles_of(plan.block_rows)) {
    case 1:
      return launch_kernel<T, 1, kColumns>(stream, params, plan);
    case 2:
      return launch_kernel<T, 2, kColumns>(stream, params, plan);
    default:
      return launch_kernel<T, kMaxTiles, kColumns>(stream, params, plan);
  }
}

template <typename T>
void launch_columns(Stream& stream, const FewRowsParams& params, const Plan& plan) {
  switch (plan.columns) {
    case 8:
      return launch_tiles<T, 8>(stream, params, plan);
    case 16:
      return launch_tiles<T, 16>(stream, params, plan);
    case 32:
      return launch_tiles<T, 32>(stream, params, plan);
    default:
      return launch_tiles<T, kMaxFewRows>(stream, params, plan);
  }
}

// Runs the product, or returns false.
bool run_few_rows(Stream& stream, const GemmArgs& args, std::optional<Activation> gate) {
  if (!is_supported(args.x, *args.weight)) return false;
  const std::optional<Plan> plan =
      choose_plan(static_cast<int>(args.x.rows()), static_cast<int>(args.weight->out_features),
                  args.leaves_room);
  if (!plan) return false;
  const FewRowsParams params = make_params(args, *plan, gate);
  if (args.weight->dtype == DType::kF16) {
    launch_columns<Half>(stream, params, *plan);
  } else {
    launch_columns<BFloat16>(stream, params, *plan);
  }
  return true;
}

}  // namespace

bool gemm_few_rows_sm90a(Stream& stream, const GemmArgs& args) {
  return run_few_rows(stream, args, std::nullopt);
}

bool gated_gemm_few_rows_sm90a(Stream& stream, const GatedGemmArgs& args) {
  return run_few_rows(stream,
                      {.x = args.x, .weight = args.weight, .bias = args.bias, .out = args.out},
                      args.activation);
}

}  // namespace quire
