// Matrix products of up to 64 rows on Hopper, bound by reading the weight once.
//
// The weight is wgmma's 64-row operand and x, transposed, its column operand, 8 to 64 wide; both
// come from shared memory, where TMA puts them.  A cluster of blocks owns a tile of up to 256 rows
// of the weight, and each block of it a slice of K, so that x is read by few blocks; the slices'
// sums meet through distributed shared memory, in a fixed order.  The height of the tiles is such
// that one round of blocks covers the weight evenly on all processors: nothing else is balanced.
//
// In a block, warpgroup w multiplies rows [w * block_rows, ...) of the tile, step after step of 64
// k.  One warp copies weights to a ring, one such piece at a time, another x to a second ring.  Two
// blocks fit on a processor: when this kernel's last copies are in flight the next one's blocks
// start, and fill their rings with weights while this one ends.
// Sources: PTX ISA, wgmma, cp.async.bulk.tensor, griddepcontrol, barrier.cluster.
#include <algorithm>
#include <array>

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/gemm_skinny.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/sm90_wgmma_narrow.cuh"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/vectors.cuh"

namespace quire {
namespace {

constexpr int kStepK = 64;         // a row of the swizzle: 128 bytes of 16-bit elements
constexpr int kStepBytes = 128;    // of a row of either operand
constexpr int kGroupBytes = 1024;  // eight such rows
constexpr int kWgmmaRows = 64;
constexpr int kMaxWarpgroups = 4;
constexpr int kMaxTileRows = kMaxWarpgroups * kWgmmaRows;
// The multiplying warpgroups, then the warps that copy weights and x.
constexpr int kMaxThreads = kMaxWarpgroups * kWarpgroupThreads + 64;
constexpr int kMaxSlots = 32;  // of a ring
constexpr int kBarrierBytes = 4 * kMaxSlots * 8;
constexpr int kVector = 4;  // columns of the result that a thread stores
constexpr int kConsumerBarrier = 1;

struct SkinnyParams {
  CUtensorMap weight_map;  // [n, k]
  CUtensorMap x_map;       // [m, k]
  const float* bias;       // [n] or null
  void* out;               // [m, n]
  int64_t out_stride;
  int m;
  int n;
  bool out_is_f32;
  bool out_is_aligned;  // to kVector elements
  bool accumulate;
  int cluster_size;
  int warpgroups;
  int block_rows;      // of the weight, per warpgroup
  int slice_steps;     // of K, per block
  int num_steps;       // of K
  int next_kernel_at;  // the copy of weights after which the next kernel may start
  int weight_slots;
  int x_slots;
  // Shared memory: the ring of weights, then these (in bytes).  Sums replace both rings at the end.
  int x_offset;
  int barriers_offset;
  int sums_stride;  // of a row of x, in floats: 4 modulo 16, for the banks
};

// The part of the work of one block.
struct BlockWork {
  int rank;          // in the cluster
  int first_column;  // of the result
  int first_step;
  int num_steps;  // may be <= 0 in the last blocks of a cluster

  __device__ static BlockWork of(const SkinnyParams& p) {
    const int tile_rows = p.warpgroups * p.block_rows;
    const int rank = blockIdx.x % p.cluster_size;
    const int tile = blockIdx.x / p.cluster_size;
    return {.rank = rank,
            .first_column = tile * tile_rows,
            .first_step = rank * p.slice_steps,
            .num_steps = min(p.slice_steps, p.num_steps - rank * p.slice_steps)};
  }
};

// Shared addresses.  Barriers: a slot is filled by copies, and read by all warps that need it.
template <int kColumns>
struct SharedMemory {
  const SkinnyParams& p;
  uint32_t base;
  __device__ uint32_t weights(int slot) const { return base + slot * p.block_rows * kStepBytes; }
  __device__ uint32_t x(int slot) const { return base + p.x_offset + slot * kColumns * kStepBytes; }
  __device__ uint32_t weights_full(int slot) const { return base + p.barriers_offset + 8 * slot; }
  __device__ uint32_t weights_read(int slot) const { return weights_full(kMaxSlots + slot); }
  __device__ uint32_t x_full(int slot) const { return weights_full(2 * kMaxSlots + slot); }
  __device__ uint32_t x_read(int slot) const { return weights_full(3 * kMaxSlots + slot); }
};

// A slot of a ring, and the parity of the phase in which it is filled.
struct RingPlace {
  int slot = 0;
  uint32_t parity = 0;
  // steps <= num_slots
  __device__ void advance(int steps, int num_slots) {
    slot += steps;
    if (slot < num_slots) return;
    slot -= num_slots;
    parity ^= 1;
  }
};

// The weight is read once: it must not displace other things from the L2 cache.
__device__ inline uint64_t evict_first_policy() {
  uint64_t policy;
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  return policy;
}

// copy_box() with a cache policy.
__device__ inline void copy_box_with_policy(uint32_t to, uint32_t barrier, const CUtensorMap& map,
                                            int x, int y, uint64_t policy) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(&map), "r"(x), "r"(y), "r"(barrier), "l"(policy)
      : "memory");
}

// One thread copies the block's weights: for each step of K a piece per warpgroup.
template <int kColumns>
__device__ void copy_weights(const SkinnyParams& p, const BlockWork& work,
                             const SharedMemory<kColumns>& shared) {
  const uint64_t policy = evict_first_policy();
  const int num_bytes = p.block_rows * kStepBytes;
  const int num_copies = work.num_steps * p.warpgroups;
  RingPlace place;
  int warpgroup = 0;
  int k = work.first_step * kStepK;
  for (int i = 0; i < num_copies; ++i) {
    const uint32_t full = shared.weights_full(place.slot);
    const uint32_t to = shared.weights(place.slot);
    const int row = work.first_column + warpgroup * p.block_rows;
    barrier_wait(shared.weights_read(place.slot), place.parity ^ 1);
    barrier_arrive_and_expect(full, num_bytes);
    copy_box_with_policy(to, full, p.weight_map, k, row, policy);
    if (i == p.next_kernel_at) allow_next_kernel();
    place.advance(1, p.weight_slots);
    if (++warpgroup == p.warpgroups) {
      warpgroup = 0;
      k += kStepK;
    }
  }
  allow_next_kernel();
}

// One thread copies this block's slice of x; rows past the last are zeros.
template <int kColumns>
__device__ void copy_x(const SkinnyParams& p, const BlockWork& work,
                       const SharedMemory<kColumns>& shared) {
  wait_for_previous_kernel();
  RingPlace place;
  for (int i = 0; i < work.num_steps; ++i) {
    barrier_wait(shared.x_read(place.slot), place.parity ^ 1);
    barrier_arrive_and_expect(shared.x_full(place.slot), kColumns * kStepBytes);
    copy_box(shared.x(place.slot), shared.x_full(place.slot), p.x_map,
             (work.first_step + i) * kStepK, 0);
    place.advance(1, p.x_slots);
  }
}

// A warpgroup's sums over this block's slice of K: [64 rows of the weight, kColumns rows of x].
// Where block_rows < 64, the last rows are of something else in shared memory, and are not used.
template <typename T, int kColumns>
__device__ void multiply(const SkinnyParams& p, int num_steps, int warpgroup,
                         const SharedMemory<kColumns>& shared, float (&sums)[kColumns / 2]) {
  const bool is_leader = threadIdx.x % 32 == 0;
  RingPlace weights{.slot = warpgroup};
  RingPlace x;
  uint32_t weights_read = 0;
  uint32_t x_read = 0;
  for (int i = 0; i < num_steps; ++i) {
    const uint64_t a = wgmma_descriptor(shared.weights(weights.slot), kGroupBytes, 0);
    const uint64_t b = wgmma_descriptor(shared.x(x.slot), kGroupBytes, 0);
    barrier_wait(shared.weights_full(weights.slot), weights.parity);
    barrier_wait(shared.x_full(x.slot), x.parity);
    wgmma_fence();
#pragma unroll
    for (int j = 0; j < kStepK / 16; ++j) wgmma_shared(T{}, sums, a + 2 * j, b + 2 * j, 1);
    wgmma_commit();
    wgmma_wait_for_previous();
    if (is_leader && i > 0) {
      barrier_arrive(weights_read);
      barrier_arrive(x_read);
    }
    weights_read = shared.weights_read(weights.slot);
    x_read = shared.x_read(x.slot);
    weights.advance(p.warpgroups, p.weight_slots);
    x.advance(1, p.x_slots);
  }
  wgmma_wait<0>(sums);
}

// Puts a warpgroup's sums into shared memory as [row of x][row of the tile].
template <int kSize>
__device__ void store_sums(const SkinnyParams& p, int warpgroup, const float (&sums)[kSize],
                           float* to) {
  const int lane = threadIdx.x % 32;
  const int row = threadIdx.x % kWarpgroupThreads / 32 * 16 + lane / 4;
  to += warpgroup * p.block_rows + row;
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const int column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    const int lower = i / 2 % 2 * 8;
    if (column < p.m && row + lower < p.block_rows) to[column * p.sums_stride + lower] = sums[i];
  }
}

// Waits for all threads of the cluster, and sees what they have written.
__device__ inline void cluster_barrier() {
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
}

// Waits for all threads of the cluster: they have read what they want from this block.
__device__ inline void cluster_end() {
  asm volatile(
      "barrier.cluster.arrive.relaxed;\n"
      "barrier.cluster.wait;" ::
          : "memory");
}

// Four floats in the shared memory of block `rank` of the cluster, where `own` is in this block's.
__device__ inline float4 load_of_block(const float* own, int rank) {
  float4 value;
  asm volatile(
      "{\n"
      ".reg .b32 address;\n"
      "mapa.shared::cluster.u32 address, %4, %5;\n"
      "ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [address];\n"
      "}"
      : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
      : "r"(shared_address(own)), "r"(rank)
      : "memory");
  return value;
}

// sums += those of all blocks of the cluster, in the order of their slices.
__device__ inline void add_slices(const float* own, int cluster_size, float (&sums)[kVector]) {
  if (cluster_size == 1) {  // not launched as a cluster
    const float4 part = *reinterpret_cast<const float4*>(own);
    sums[0] += part.x;
    sums[1] += part.y;
    sums[2] += part.z;
    sums[3] += part.w;
    return;
  }
  constexpr int kBatch = 4;  // loads in flight
  for (int first = 0; first < cluster_size; first += kBatch) {
    float4 parts[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      parts[i] = load_of_block(own, min(first + i, cluster_size - 1));
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      if (first + i >= cluster_size) break;
      sums[0] += parts[i].x;
      sums[1] += parts[i].y;
      sums[2] += parts[i].z;
      sums[3] += parts[i].w;
    }
  }
}

// kVector columns of a row of the result; some or all may be past the end of the row.
struct OutPlace {
  int row;
  int tile_column;
  int column;
  int count;  // of columns that exist; may be <= 0

  // Number `index` of the tile's m * (columns / kVector).
  __device__ OutPlace(const SkinnyParams& p, int first_column, int tile_vectors, int index)
      : row(index / tile_vectors),
        tile_column(index % tile_vectors * kVector),
        column(first_column + tile_column),
        count(row < p.m ? min(p.n - column, kVector) : 0) {}
};

// values += the neighbours of data[0].
template <typename T>
__device__ inline void add_values(const T* data, int count, bool is_aligned,
                                  float (&values)[kVector]) {
  float loaded[kVector] = {};
  if (is_aligned && count == kVector) {
    load_floats(data, loaded);
  } else {
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      if (i < count) loaded[i] = to_float(data[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kVector; ++i) values[i] += loaded[i];
}

template <typename T>
__device__ inline void store_values(const float (&values)[kVector], int count, bool is_aligned,
                                    T* data) {
  if (is_aligned && count == kVector) return store_floats(values, data);
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    if (i < count) data[i] = from_float<T>(values[i]);
  }
}

// Sets `values` to what the sums are added to: the bias, and what `out` holds.
template <typename T>
__device__ void load_start(const SkinnyParams& p, const OutPlace& place, float (&values)[kVector]) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) values[i] = 0.0F;
  if (place.count <= 0) return;
  if (p.bias != nullptr) add_values(p.bias + place.column, place.count, false, values);
  if (!p.accumulate) return;
  const int64_t index = place.row * p.out_stride + place.column;
  if (p.out_is_f32) {
    add_values(static_cast<const float*>(p.out) + index, place.count, p.out_is_aligned, values);
  } else {
    add_values(static_cast<const T*>(p.out) + index, place.count, p.out_is_aligned, values);
  }
}

template <typename T>
__device__ void store_result(const SkinnyParams& p, const OutPlace& place,
                             const float (&values)[kVector]) {
  const int64_t index = place.row * p.out_stride + place.column;
  if (p.out_is_f32) {
    store_values(values, place.count, p.out_is_aligned, static_cast<float*>(p.out) + index);
  } else {
    store_values(values, place.count, p.out_is_aligned, static_cast<T*>(p.out) + index);
  }
}

// The multiplying warpgroups' work.  Threads of the cluster share the stores.
template <typename T, int kColumns>
__device__ void multiply_and_store(const SkinnyParams& p, const BlockWork& work,
                                   const SharedMemory<kColumns>& shared, float* all_sums) {
  const int num_consumers = p.warpgroups * kWarpgroupThreads;
  // The same in all threads of a warp, and the compiler shall know it.
  const int warpgroup = __shfl_sync(0xffffffffU, threadIdx.x / kWarpgroupThreads, 0);
  const int tile_vectors = p.warpgroups * p.block_rows / kVector;
  wait_for_previous_kernel();
  // What the first sums are added to is loaded before they are known.
  int index = work.rank * num_consumers + threadIdx.x;
  float values[kVector];
  load_start<T>(p, OutPlace(p, work.first_column, tile_vectors, index), values);
  {
    float sums[kColumns / 2] = {};
    multiply<T, kColumns>(p, work.num_steps, warpgroup, shared, sums);
    part_wait(kConsumerBarrier, num_consumers);  // the rings are read
    store_sums(p, warpgroup, sums, all_sums);
  }
  if (p.cluster_size > 1) {
    cluster_barrier();
  } else {
    part_wait(kConsumerBarrier, num_consumers);
  }
  while (index < p.m * tile_vectors) {
    const OutPlace place(p, work.first_column, tile_vectors, index);
    const float* sums = all_sums + place.row * p.sums_stride;
    add_slices(sums + place.tile_column, p.cluster_size, values);
    store_result<T>(p, place, values);
    index += p.cluster_size * num_consumers;
    load_start<T>(p, OutPlace(p, work.first_column, tile_vectors, index), values);
  }
  if (p.cluster_size > 1) cluster_end();
}

template <typename T, int kColumns>
__global__ void __launch_bounds__(kColumns == 64 ? 1024 : kMaxThreads, kColumns == 64 ? 1 : 2)
    gemm_skinny_kernel(const __grid_constant__ SkinnyParams p) {
  extern __shared__ __align__(1024) unsigned char bytes[];
  const SharedMemory<kColumns> shared{p, shared_address(bytes)};
  const BlockWork work = BlockWork::of(p);
  const int copying_warp = static_cast<int>(threadIdx.x / 32) - p.warpgroups * 4;
  if (copying_warp >= 0 && threadIdx.x % 32 == 0) {
    prefetch_map(copying_warp == 0 ? p.weight_map : p.x_map);
  }
  if (threadIdx.x == 0) {
    for (int i = 0; i < p.weight_slots; ++i) {
      barrier_init(shared.weights_full(i), 1);
      barrier_init(shared.weights_read(i), 4);
    }
    for (int i = 0; i < p.x_slots; ++i) {
      barrier_init(shared.x_full(i), 1);
      barrier_init(shared.x_read(i), 4 * p.warpgroups);
    }
    barrier_init_fence();
  }
  __syncthreads();
  if (copying_warp < 0) {
    multiply_and_store<T, kColumns>(p, work, shared, reinterpret_cast<float*>(bytes));
    return;
  }
  if (threadIdx.x % 32 == 0) {
    if (copying_warp == 0) {
      copy_weights<kColumns>(p, work, shared);
    } else {
      copy_x<kColumns>(p, work, shared);
    }
  }
  __syncwarp();
  if (p.cluster_size == 1) return;
  cluster_barrier();
  cluster_end();
}

struct Problem {
  int m = 0;
  int weight_rows = 0;
  int k = 0;
  int row_unit = 0;  // of a warpgroup's rows; a box of 8 rows is the smallest
};

// A block has a processor for itself: with a second one beside it, results were wrong at times on
// an H200 (cause unknown).
constexpr int kSharedBytes = 220 * 1024;

struct Plan {
  int cluster_size = 1;
  int num_tiles = 0;
  int rounds = 0;  // of clusters
  int warpgroups = 0;
  int block_rows = 0;
  int slice_steps = 0;
  int weight_slots = 0;
  int x_slots = 0;
  int x_offset = 0;
  int barriers_offset = 0;
  int sums_stride = 0;
  int shared_bytes = 0;
  int next_kernel_at = 0;

  int tile_rows() const { return warpgroups * block_rows; }
};

constexpr int ceil_div(int a, int b) { return a / b + (a % b != 0); }
constexpr int round_up(int a, int unit) { return ceil_div(a, unit) * unit; }

int columns_for(int m) {
  for (const int columns : {8, 16, 32}) {
    if (m <= columns) return columns;
  }
  return 64;
}

// How many clusters of `size` blocks run at once, one block on a processor; asked once.
int max_clusters(int size) {
  constexpr int kSizes = 4;
  static const std::array<int, kSizes> kMaxClusters = [] {
    const CudaProperties& gpu = cuda_properties();
    std::array<int, kSizes> result{gpu.num_sms};
    const auto kernel = gemm_skinny_kernel<Half, 8>;
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    gpu.max_shared_bytes),
               "gemm_skinny");
    for (int i = 1; i < kSizes; ++i) {
      cudaLaunchAttribute attribute{};
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim = {1U << i, 1, 1};
      cudaLaunchConfig_t config{};
      config.gridDim = dim3(1U << i);
      config.blockDim = dim3(kMaxThreads);
      config.dynamicSmemBytes = static_cast<size_t>(gpu.max_shared_bytes);
      config.attrs = &attribute;
      config.numAttrs = 1;
      check_cuda(cudaOccupancyMaxActiveClusters(&result[i], kernel, &config),
                 "cudaOccupancyMaxActiveClusters");
    }
    return result;
  }();
  return kMaxClusters[size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3];
}

// The rings, as deep as shared memory and the work allow.
void plan_shared_memory(const Problem& problem, Plan& plan) {
  const int x_bytes = columns_for(problem.m) * kStepBytes;
  const int piece_bytes = plan.block_rows * kStepBytes;
  const int ring_bytes = kSharedBytes - kBarrierBytes;
  const int steps = ring_bytes / (plan.warpgroups * piece_bytes + x_bytes);
  plan.x_slots = std::min({steps + 1, plan.slice_steps, kMaxSlots});
  plan.weight_slots = std::min({(ring_bytes - plan.x_slots * x_bytes) / piece_bytes,
                                plan.slice_steps * plan.warpgroups, kMaxSlots});
  // Slots are given back one step late.
  CHECK(plan.weight_slots >= 2 * plan.warpgroups || plan.slice_steps == 1, plan.weight_slots,
        " slots");
  plan.x_offset = plan.weight_slots * piece_bytes;
  plan.sums_stride = round_up(plan.tile_rows(), 16) + kVector;
  // A product reads 64 rows, even of the last slot.
  plan.barriers_offset = std::max({plan.x_offset + plan.x_slots * x_bytes,
                                   plan.x_offset - piece_bytes + kWgmmaRows * kStepBytes,
                                   problem.m * plan.sums_stride * 4});
  plan.shared_bytes = std::max(plan.barriers_offset + kBarrierBytes, kSharedBytes);
}

Plan plan_for(const Problem& problem, int cluster_size) {
  Plan plan{.cluster_size = cluster_size};
  const int clusters = std::max(max_clusters(cluster_size), 1);
  plan.rounds = ceil_div(problem.weight_rows, clusters * kMaxTileRows);
  const int rows = ceil_div(problem.weight_rows, clusters * plan.rounds);
  plan.warpgroups = ceil_div(rows, kWgmmaRows);
  plan.block_rows = round_up(ceil_div(rows, plan.warpgroups), problem.row_unit);
  plan.num_tiles = ceil_div(problem.weight_rows, plan.tile_rows());
  plan.slice_steps = ceil_div(ceil_div(problem.k, kStepK), cluster_size);
  plan_shared_memory(problem, plan);
  plan.next_kernel_at = plan.slice_steps * plan.warpgroups - 1;
  return plan;
}

// Two blocks share a tile where K is long enough: less of x is read, and the sum of two slices
// costs little.
Plan choose_plan(const Problem& problem) {
  constexpr int kMinSteps = 4;  // of a slice of K
  const Plan alone = plan_for(problem, 1);
  if (alone.slice_steps < 2 * kMinSteps || max_clusters(2) == 0) return alone;
  const Plan pair = plan_for(problem, 2);
  return pair.rounds == 1 ? pair : alone;
}

bool is_aligned(const void* data, int64_t stride_bytes, int64_t alignment) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(alignment) == 0 &&
         stride_bytes % alignment == 0;
}

// A row of a single one may have any stride.
int64_t row_bytes(const TensorView& view) {
  return (view.rows() == 1 ? view.shape[1] : view.row_stride) * size_of(view.dtype);
}

bool is_supported(const TensorView& x, const PackedWeight& weight) {
  constexpr int kCopyAlignment = 16;
  if (cuda_properties().arch != 90 || weight.dtype == DType::kF32) return false;
  if (x.rows() > kMaxSkinnyRows || weight.in_features < kStepK) return false;
  return is_aligned(x.data, row_bytes(x), kCopyAlignment) &&
         is_aligned(weight.data.data(), weight.in_features * size_of(weight.dtype), kCopyAlignment);
}

CUtensorMap matrix_map(const void* data, int64_t rows, int64_t columns, int64_t stride_bytes,
                       int box_rows) {
  TensorMapArgs<2> args;
  args.data = data;
  args.sizes = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)};
  args.strides = {static_cast<uint64_t>(stride_bytes)};
  args.box = {kStepK, static_cast<uint32_t>(box_rows)};
  return tensor_map(args);
}

SkinnyParams make_params(const GemmArgs& args, const Plan& plan) {
  const PackedWeight& weight = *args.weight;
  const int out_bytes = static_cast<int>(size_of(args.out.dtype));
  SkinnyParams params{};
  params.weight_map = matrix_map(weight.data.data(), weight.out_features, weight.in_features,
                                 weight.in_features * size_of(weight.dtype), plan.block_rows);
  params.x_map = matrix_map(args.x.data, args.x.rows(), args.x.shape[1], row_bytes(args.x),
                            columns_for(static_cast<int>(args.x.rows())));
  params.bias = args.bias.as<float>();
  params.out = args.out.data;
  params.out_stride = args.out.row_stride;
  params.m = static_cast<int>(args.x.rows());
  params.n = static_cast<int>(args.out.shape[1]);
  params.out_is_f32 = args.out.dtype == DType::kF32;
  params.out_is_aligned =
      is_aligned(args.out.data, args.x.rows() == 1 ? 0 : row_bytes(args.out), kVector * out_bytes);
  params.accumulate = args.accumulate;
  params.cluster_size = plan.cluster_size;
  params.warpgroups = plan.warpgroups;
  params.block_rows = plan.block_rows;
  params.slice_steps = plan.slice_steps;
  params.num_steps = ceil_div(static_cast<int>(weight.in_features), kStepK);
  params.next_kernel_at = plan.next_kernel_at;
  params.weight_slots = plan.weight_slots;
  params.x_slots = plan.x_slots;
  params.x_offset = plan.x_offset;
  params.barriers_offset = plan.barriers_offset;
  params.sums_stride = plan.sums_stride;
  return params;
}

template <typename T>
void launch_skinny(Stream& stream, const SkinnyParams& params, const Plan& plan) {
  const LaunchShape shape{
      .grid = dim3(static_cast<unsigned>(plan.num_tiles * plan.cluster_size)),
      .block = dim3(static_cast<unsigned>(plan.warpgroups * kWarpgroupThreads + 64)),
      .shared_bytes = plan.shared_bytes,
      .cluster_size = plan.cluster_size};
  const auto run = [&](auto kernel) {
    // Room for two blocks; and a processor does not wait to change its share between kernels.
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared),
               "gemm_skinny");
    launch(stream, "gemm_skinny", kernel, shape, params);
  };
  switch (columns_for(params.m)) {
    case 8:
      return run(gemm_skinny_kernel<T, 8>);
    case 16:
      return run(gemm_skinny_kernel<T, 16>);
    case 32:
      return run(gemm_skinny_kernel<T, 32>);
    default:
      return run(gemm_skinny_kernel<T, 64>);
  }
}

void run_plan(Stream& stream, const SkinnyParams& params, DType dtype, const Plan& plan) {
  if (dtype == DType::kF16) {
    launch_skinny<Half>(stream, params, plan);
  } else {
    launch_skinny<BFloat16>(stream, params, plan);
  }
}

Problem problem_of(const TensorView& x, const PackedWeight& weight, int row_unit) {
  return {.m = static_cast<int>(x.rows()),
          .weight_rows = static_cast<int>(weight.out_features),
          .k = static_cast<int>(weight.in_features),
          .row_unit = row_unit};
}

}  // namespace

bool gemm_skinny_sm90a(Stream& stream, const GemmArgs& args) {
  constexpr int kRowUnit = 8;  // rows after which the swizzle repeats
  if (!is_supported(args.x, *args.weight)) return false;
  const Plan plan = choose_plan(problem_of(args.x, *args.weight, kRowUnit));
  if (plan.rounds > 1) return false;
  run_plan(stream, make_params(args, plan), args.weight->dtype, plan);
  return true;
}

}  // namespace quire
