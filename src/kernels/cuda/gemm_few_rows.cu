// Matrix products of few rows (decoding): every weight is read once, straight to the tensor cores.
//
// The weight is the 16-row operand of mma and x, transposed, the 8-column one.  K is permuted alike
// on both sides: thread t of a quad takes k = 8t .. 8t + 7 of 32, a vector of 16 bytes, where the
// instruction has pairs; a sum does not mind.  So a thread multiplies exactly the vectors that it
// has copied, and the ring of copies in flight needs no barrier.
//
// Work: a cluster of blocks takes some tiles of 16 rows of the weight, each block of it a slice of
// K (so that x fits in shared memory and is read by few); in a block, `k_warps` warps share a tile
// and alternate over K in steps of 64.  Sums meet in shared memory in a fixed order. Source: PTX
// ISA, matrix fragments of mma.m16n8k16, and cp.async.
#include <algorithm>
#include <array>
#include <optional>

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/gemm_few_rows.h"
#include "kernels/cuda/launch.cuh"

namespace quire {
namespace {

constexpr int kMaxRows = 16;  // measured against the library
constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kTileRows = 16;
constexpr int kTileColumns = 8;
constexpr int kStepK = 64;  // a cache line of 16-bit elements
constexpr int kVector = 8;  // elements in 16 bytes
// Vectors that a thread copies for a step: of two rows, in two halves of 32.
constexpr int kStepVectors = 4;
constexpr int kStageBytes = kThreads * kStepVectors * 16;
// 64 KB in flight on a processor cover the latency of its memory (33 B/ns, 1-2 us under load), and
// leave room for a second block: that of the next kernel, which copies its first weights meanwhile.
constexpr int kStages = 4;
// Of a column of partial sums; 20 spreads the fragments of a warp over all banks.
constexpr int kSumStride = 20;

// Without asynchronous copies more stages would not help.
__host__ __device__ constexpr int num_stages(int arch) { return arch >= 80 ? kStages : 1; }

struct FewRowsParams {
  const void* x = nullptr;  // [m, k]
  int64_t x_stride = 0;
  const void* weight = nullptr;  // [n, k]
  const float* bias = nullptr;   // [n] or null
  void* out = nullptr;           // [m, n]
  int64_t out_stride = 0;
  int m = 0;
  int n = 0;
  int k = 0;
  bool out_is_f32 = false;
  bool accumulate = false;
  int cluster_size = 1;
  int k_slice = 0;  // of a block, a multiple of kStepK
  int k_warps = 0;  // a power of two
  int steps = 0;    // of a warp per tile
  // Shared memory: the ring, then these (in bytes).
  int x_offset = 0;
  int x_row_bytes = 0;  // 64 modulo 128: the rows of a quarter warp lie in different banks
  int sums_offset = 0;
  int slice_sums_offset = 0;  // [m, slice_rows] f32: all sums of this slice, in a cluster
  int slice_rows = 0;
};

// The part of the work of one block.
struct BlockWork {
  int rank = 0;  // in the cluster
  int first_tile = 0;
  int end_tile = 0;
  int k_begin = 0;
  int k_size = 0;  // may be <= 0 in the last blocks of a cluster

  __device__ explicit BlockWork(const FewRowsParams& p) {
    const int num_clusters = gridDim.x / p.cluster_size;
    const int cluster = blockIdx.x / p.cluster_size;
    const int64_t num_tiles = (p.n + kTileRows - 1) / kTileRows;
    rank = blockIdx.x % p.cluster_size;
    first_tile = static_cast<int>(num_tiles * cluster / num_clusters);
    end_tile = static_cast<int>(num_tiles * (cluster + 1) / num_clusters);
    k_begin = rank * p.k_slice;
    k_size = min(p.k - k_begin, p.k_slice);
  }
};

// Copies 16 bytes, or zeros if not `wanted`.  The weight is read once: it must not displace other
// things from the L2 cache.
__device__ inline void copy_vector(uint4* to, const void* from, bool wanted, uint64_t policy) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global.L2::cache_hint [%0], [%1], 16, %2, %3;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(wanted ? 16 : 0), "l"(policy)
               : "memory");
#else
  *to = wanted ? *static_cast<const uint4*>(from) : uint4{};
#endif
}

__device__ inline uint64_t evict_first_policy() {
  uint64_t policy = 0;
#if __CUDA_ARCH__ >= 800
  asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
#endif
  return policy;
}

__device__ inline void end_stage() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for the oldest of `kInFlight` stages.
template <int kInFlight>
__device__ inline void wait_for_stage() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kInFlight - 1) : "memory");
#endif
}

// sums += a * b for 16 k: a.x and b.x hold the first 8 of them in the instruction's order.
template <typename T>
__device__ inline void multiply(float (&sums)[4], uint2 a_upper, uint2 a_lower, uint2 b);

template <>
__device__ inline void multiply<Half>(float (&sums)[4], uint2 a_upper, uint2 a_lower, uint2 b) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a_upper.x), "r"(a_lower.x), "r"(a_upper.y), "r"(a_lower.y), "r"(b.x), "r"(b.y));
#else
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%8}, "
      "{%0, %1, %2, %3};\n"
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%6, %7}, {%9}, "
      "{%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a_upper.x), "r"(a_lower.x), "r"(a_upper.y), "r"(a_lower.y), "r"(b.x), "r"(b.y));
#endif
}

template <>
__device__ inline void multiply<BFloat16>(float (&sums)[4], uint2 a_upper, uint2 a_lower, uint2 b) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a_upper.x), "r"(a_lower.x), "r"(a_upper.y), "r"(a_lower.y), "r"(b.x), "r"(b.y));
#else
  __trap();  // the host does not choose this kernel
#endif
}

// Copies the weights of one warp into its part of the ring, some stages ahead of their use.
template <typename T>
class WeightCopier {
 public:
  __device__ WeightCopier(const FewRowsParams& p, const BlockWork& work, uint4* ring)
      : p_(p), work_(work), ring_(ring + threadIdx.x), policy_(evict_first_policy()) {
    const int warp = threadIdx.x / 32;
    tile_ = work.first_tile + warp / p.k_warps;
    begin_tile();
  }

  // The next step's weights, into stage `stage` of the ring.
  __device__ void copy_step(int stage) {
    const int first_k =
        (step_ * p_.k_warps + threadIdx.x / 32 % p_.k_warps) * kStepK + threadIdx.x % 4 * kVector;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int k = first_k + half * kStepK / 2;
      const bool wanted = tile_ < work_.end_tile && k < work_.k_size;
      const int offset = wanted ? k : 0;
      uint4* to = ring_ + (stage * kStepVectors + half * 2) * kThreads;
      copy_vector(to, upper_ + offset, wanted, policy_);
      copy_vector(to + kThreads, lower_ + offset, wanted, policy_);
    }
    end_stage();
    if (++step_ == p_.steps) {
      step_ = 0;
      tile_ += kWarps / p_.k_warps;
      begin_tile();
    }
  }

 private:
  __device__ void begin_tile() {
    const int row = tile_ * kTileRows + threadIdx.x % 32 / 4;
    const T* slice = static_cast<const T*>(p_.weight) + min(work_.k_begin, p_.k - kVector);
    upper_ = slice + static_cast<int64_t>(min(row, p_.n - 1)) * p_.k;
    lower_ = slice + static_cast<int64_t>(min(row + kTileRows / 2, p_.n - 1)) * p_.k;
  }

  const FewRowsParams& p_;
  const BlockWork& work_;
  uint4* ring_;
  uint64_t policy_;
  int tile_ = 0;
  int step_ = 0;
  const T* upper_ = nullptr;  // rows g and g + 8 of the tile for thread 4g + t of the warp
  const T* lower_ = nullptr;
};

// Copies this block's slice of x to shared memory, with zeros up to the end of the last step.
template <typename T>
__device__ void load_x(const FewRowsParams& p, const BlockWork& work, std::byte* to) {
  constexpr int kBatch = 4;  // loads in flight
  const int vectors = p.steps * p.k_warps * kStepK / kVector;
  const int count = p.m * vectors;
  for (int first = threadIdx.x; first < count; first += kBatch * kThreads) {
    uint4 values[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int index = first + i * kThreads;
      const int k = index % vectors * kVector;
      values[i] = uint4{};
      if (index < count && k < work.k_size) {
        const T* row = static_cast<const T*>(p.x) + index / vectors * p.x_stride;
        values[i] = *reinterpret_cast<const uint4*>(row + work.k_begin + k);
      }
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int index = first + i * kThreads;
      if (index >= count) break;
      std::byte* row = to + index / vectors * p.x_row_bytes;
      reinterpret_cast<uint4*>(row)[index % vectors] = values[i];
    }
  }
}

template <typename T>
__device__ void store_sum(const FewRowsParams& p, int row, int column, float sum) {
  const int64_t index = row * p.out_stride + column;
  if (p.bias != nullptr) sum += p.bias[column];
  if (p.out_is_f32) {
    float* out = static_cast<float*>(p.out) + index;
    *out = p.accumulate ? *out + sum : sum;
  } else {
    T* out = static_cast<T*>(p.out) + index;
    *out = from_float<T>(p.accumulate ? to_float(*out) + sum : sum);
  }
}

// Adds up the sums of the warps that shared each tile from `first_tile` on.
template <typename T, int kColumnTiles>
__device__ void finish_tiles(const FewRowsParams& p, const BlockWork& work, int first_tile,
                             const float (&sums)[kColumnTiles][4], std::byte* shared) {
  constexpr int kWarpSums = kColumnTiles * kTileColumns * kSumStride;
  auto* all = reinterpret_cast<float*>(shared + p.sums_offset);
  const int lane = threadIdx.x % 32;
  __syncthreads();  // the last tiles' sums are read
  float* own = all + threadIdx.x / 32 * kWarpSums + lane % 4 * 2 * kSumStride + lane / 4;
#pragma unroll
  for (int i = 0; i < kColumnTiles; ++i) {
    float* tile = own + i * kTileColumns * kSumStride;
    tile[0] = sums[i][0];
    tile[kSumStride] = sums[i][1];
    tile[kTileRows / 2] = sums[i][2];
    tile[kSumStride + kTileRows / 2] = sums[i][3];
  }
  __syncthreads();
  const int count = kWarps / p.k_warps * kTileRows * p.m;
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const int row_of_tile = i % kTileRows;
    const int row = i / kTileRows % p.m;
    const int tile_slot = i / kTileRows / p.m;
    const int column = (first_tile + tile_slot) * kTileRows + row_of_tile;
    if (first_tile + tile_slot >= work.end_tile || column >= p.n) continue;
    const float* parts = all + tile_slot * p.k_warps * kWarpSums + row * kSumStride + row_of_tile;
    float sum = 0.0F;
    for (int warp = 0; warp < p.k_warps; ++warp) sum += parts[warp * kWarpSums];
    if (p.cluster_size == 1) {
      store_sum<T>(p, row, column, sum);
    } else {
      auto* slice = reinterpret_cast<float*>(shared + p.slice_sums_offset);
      slice[row * p.slice_rows + column - work.first_tile * kTileRows] = sum;
    }
  }
}

__device__ inline void cluster_barrier() {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
#endif
}

// A float in the shared memory of block `rank` of the cluster, where `own` is in this block's.
__device__ inline float load_of_block(const float* own, int rank) {
  float value = 0.0F;
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .b32 address;\n"
      "mapa.shared::cluster.u32 address, %1, %2;\n"
      "ld.shared::cluster.f32 %0, [address];\n"
      "}"
      : "=f"(value)
      : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(own))), "r"(rank)
      : "memory");
#endif
  return value;
}

// Adds up the slices of K; each block of the cluster stores a share of the result.
template <typename T>
__device__ void add_slices(const FewRowsParams& p, const BlockWork& work, std::byte* shared) {
  const auto* slice = reinterpret_cast<const float*>(shared + p.slice_sums_offset);
  const int first_column = work.first_tile * kTileRows;
  const int columns = min(work.end_tile * kTileRows, p.n) - first_column;
  cluster_barrier();
  for (int i = work.rank * kThreads + threadIdx.x; i < p.m * columns;
       i += p.cluster_size * kThreads) {
    const int row = i / columns;
    const int column = i % columns;
    float sum = 0.0F;
    for (int rank = 0; rank < p.cluster_size; ++rank) {
      sum += load_of_block(slice + row * p.slice_rows + column, rank);
    }
    store_sum<T>(p, row, first_column + column, sum);
  }
  cluster_barrier();  // the others may still read this block's sums
}

// sums += the products of one step; x points to this thread's first vector of the first row.
template <typename T, int kColumnTiles>
__device__ inline void multiply_step(float (&sums)[kColumnTiles][4], const uint4* stage,
                                     const std::byte* const (&x)[kColumnTiles], int x_offset) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const uint4 upper = stage[half * 2 * kThreads];
    const uint4 lower = stage[(half * 2 + 1) * kThreads];
#pragma unroll
    for (int i = 0; i < kColumnTiles; ++i) {
      const uint4 b = *reinterpret_cast<const uint4*>(x[i] + x_offset + half * kStepK);
      multiply<T>(sums[i], {upper.x, upper.y}, {lower.x, lower.y}, {b.x, b.y});
      multiply<T>(sums[i], {upper.z, upper.w}, {lower.z, lower.w}, {b.z, b.w});
    }
  }
}

template <typename T, int kColumnTiles>
__global__ void __launch_bounds__(kThreads, 2)
    gemm_few_rows_kernel(const __grid_constant__ FewRowsParams p) {
#ifdef __CUDA_ARCH__
  constexpr int kRing = num_stages(__CUDA_ARCH__ / 10);
#else
  constexpr int kRing = kStages;
#endif
  extern __shared__ uint4 shared_vectors[];
  auto* shared = reinterpret_cast<std::byte*>(shared_vectors);
  const BlockWork work(p);
  WeightCopier<T> copier(p, work, shared_vectors);
#pragma unroll
  for (int i = 0; i < kRing; ++i) copier.copy_step(i);
  wait_for_previous_kernel();
  allow_next_kernel();  // not before x is there
  load_x<T>(p, work, shared + p.x_offset);
  __syncthreads();

  const int lane = threadIdx.x % 32;
  const int k_warp = threadIdx.x / 32 % p.k_warps;
  // Columns past the last row of x repeat it, and are not stored.
  const std::byte* x[kColumnTiles];
#pragma unroll
  for (int i = 0; i < kColumnTiles; ++i) {
    x[i] = shared + p.x_offset + min(i * kTileColumns + lane / 4, p.m - 1) * p.x_row_bytes +
           lane % 4 * static_cast<int>(sizeof(uint4)) +
           k_warp * kStepK * static_cast<int>(sizeof(T));
  }
  const int x_step_bytes = p.k_warps * kStepK * static_cast<int>(sizeof(T));
  int stage = 0;
  for (int tile = work.first_tile; tile < work.end_tile; tile += kWarps / p.k_warps) {
    float sums[kColumnTiles][4] = {};
    for (int step = 0; step < p.steps; ++step) {
      wait_for_stage<kRing>();
      multiply_step<T, kColumnTiles>(sums,
                                     shared_vectors + stage * kStepVectors * kThreads + threadIdx.x,
                                     x, step * x_step_bytes);
      copier.copy_step(stage);
      stage = stage + 1 == kRing ? 0 : stage + 1;
    }
    finish_tiles<T, kColumnTiles>(p, work, tile, sums, shared);
  }
  if (p.cluster_size > 1) add_slices<T>(p, work, shared);
}

struct Problem {
  int m = 0;
  int n = 0;
  int k = 0;
};

struct Plan {
  int cluster_size = 1;
  int num_clusters = 0;
  int k_slice = 0;
  int k_warps = 0;
  int steps = 0;
  int x_row_bytes = 0;
  int slice_rows = 0;
  int x_offset = 0;
  int sums_offset = 0;
  int slice_sums_offset = 0;
  int shared_bytes = 0;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How many clusters of `size` blocks run at once, one block on a processor; asked once.
int max_clusters(int size) {
  static const std::array<int, 3> kMaxClusters = [] {
    const CudaProperties& gpu = cuda_properties();
    std::array<int, 3> result{gpu.num_sms, 0, 0};
    if (gpu.arch < 90) return result;
    const auto kernel = gemm_few_rows_kernel<Half, 1>;
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    gpu.max_shared_bytes),
               "gemm_few_rows");
    for (int log_size = 1; log_size < 3; ++log_size) {
      cudaLaunchAttribute attribute{};
      attribute.id = cudaLaunchAttributeClusterDimension;
      attribute.val.clusterDim = {1U << log_size, 1, 1};
      cudaLaunchConfig_t config{};
      config.gridDim = dim3(1U << log_size);
      config.blockDim = dim3(kThreads);
      config.dynamicSmemBytes = static_cast<size_t>(gpu.max_shared_bytes);
      config.attrs = &attribute;
      config.numAttrs = 1;
      check_cuda(cudaOccupancyMaxActiveClusters(&result[log_size], kernel, &config),
                 "cudaOccupancyMaxActiveClusters");
    }
    return result;
  }();
  return kMaxClusters[size == 1 ? 0 : size / 2];
}

// Tiles per cluster first, evenly; then the warps of a block over tiles and K.
Plan plan_for(const Problem& problem, int cluster_size) {
  constexpr int kEnoughSteps = 8;  // between two barriers
  Plan plan{.cluster_size = cluster_size};
  const int64_t num_tiles = ceil_div(problem.n, kTileRows);
  const int64_t tiles = ceil_div(num_tiles, std::max(max_clusters(cluster_size), 1));
  plan.num_clusters = static_cast<int>(ceil_div(num_tiles, tiles));
  plan.k_slice = static_cast<int>(ceil_div(ceil_div(problem.k, cluster_size), kStepK) * kStepK);
  plan.k_warps = kWarps;
  while (plan.k_warps > 1 && plan.k_slice <= kEnoughSteps * kStepK * plan.k_warps) {
    const int at_once = 2 * kWarps / plan.k_warps;
    if (tiles % at_once != 0 && tiles < 4 * at_once) break;
    plan.k_warps /= 2;
  }
  plan.steps = static_cast<int>(ceil_div(plan.k_slice, kStepK * plan.k_warps));

  const int column_tiles = problem.m <= 8 ? 1 : problem.m <= 16 ? 2 : 4;
  plan.x_row_bytes = plan.steps * plan.k_warps * kStepK * 2 + 64;
  plan.x_offset = num_stages(cuda_properties().arch) * kStageBytes;
  plan.sums_offset = plan.x_offset + problem.m * plan.x_row_bytes;
  plan.slice_sums_offset = plan.sums_offset + kWarps * column_tiles * kTileColumns * kSumStride * 4;
  plan.slice_rows = cluster_size == 1 ? 0 : static_cast<int>(tiles * kTileRows);
  plan.shared_bytes = plan.slice_sums_offset + problem.m * plan.slice_rows * 4;
  return plan;
}

// Larger clusters read less of x per block, which costs time before the first product and room for
// the next kernel's blocks; but they add one more reduction.
std::optional<Plan> choose_plan(const Problem& problem) {
  constexpr int kMaxX = 40 * 1024;  // bytes of shared memory
  constexpr int kMaxSliceSums = 32 * 1024;
  constexpr int kMaxShareOfX = 8;  // x may be 1/8 of what a block reads of the weight
  const CudaProperties& gpu = cuda_properties();
  Plan plan = plan_for(problem, 1);
  while (gpu.arch >= 90 && plan.cluster_size < 4) {
    const int64_t columns_of_block =
        int64_t{problem.n} / (int64_t{plan.num_clusters} * plan.cluster_size);
    const bool reads_much_x =
        int64_t{problem.m} * kMaxShareOfX > columns_of_block * plan.cluster_size;
    const bool holds_much_x = problem.m * plan.x_row_bytes > kMaxX;
    if (!reads_much_x && !holds_much_x) break;
    if (max_clusters(plan.cluster_size * 2) == 0) break;
    const Plan larger = plan_for(problem, plan.cluster_size * 2);
    if (problem.m * larger.slice_rows * 4 > kMaxSliceSums) break;
    plan = larger;
  }
  if (plan.shared_bytes > gpu.max_shared_bytes) return std::nullopt;
  return plan;
}

bool is_aligned(const void* data, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride % kVector == 0;
}

template <typename T>
void launch_few_rows(Stream& stream, const FewRowsParams& params, const Plan& plan) {
  LaunchShape shape{.grid = dim3(static_cast<unsigned>(plan.num_clusters * plan.cluster_size)),
                    .block = dim3(kThreads),
                    .shared_bytes = plan.shared_bytes,
                    .cluster_size = plan.cluster_size};
  if (params.m <= kTileColumns) {
    launch(stream, "gemm_few_rows", gemm_few_rows_kernel<T, 1>, shape, params);
  } else {
    launch(stream, "gemm_few_rows", gemm_few_rows_kernel<T, 2>, shape, params);
  }
}

}  // namespace

bool gemm_few_rows(Stream& stream, const GemmArgs& args) {
  const PackedWeight& weight = *args.weight;
  if (args.x.rows() > kMaxRows || weight.dtype == DType::kF32) return false;
  if (weight.dtype == DType::kBF16 && cuda_properties().arch < 80) return false;
  if (!is_aligned(args.x.data, args.x.rows() == 1 ? 0 : args.x.row_stride)) return false;
  if (!is_aligned(weight.data.data(), weight.in_features)) return false;
  const Problem problem{.m = static_cast<int>(args.x.rows()),
                        .n = static_cast<int>(weight.out_features),
                        .k = static_cast<int>(weight.in_features)};
  const std::optional<Plan> plan = choose_plan(problem);
  if (!plan.has_value()) return false;
  const FewRowsParams params{.x = args.x.data,
                             .x_stride = args.x.row_stride,
                             .weight = weight.data.data(),
                             .bias = args.bias.as<float>(),
                             .out = args.out.data,
                             .out_stride = args.out.row_stride,
                             .m = problem.m,
                             .n = problem.n,
                             .k = problem.k,
                             .out_is_f32 = args.out.dtype == DType::kF32,
                             .accumulate = args.accumulate,
                             .cluster_size = plan->cluster_size,
                             .k_slice = plan->k_slice,
                             .k_warps = plan->k_warps,
                             .steps = plan->steps,
                             .x_offset = plan->x_offset,
                             .x_row_bytes = plan->x_row_bytes,
                             .sums_offset = plan->sums_offset,
                             .slice_sums_offset = plan->slice_sums_offset,
                             .slice_rows = plan->slice_rows};
  if (weight.dtype == DType::kF16) {
    launch_few_rows<Half>(stream, params, *plan);
  } else {
    launch_few_rows<BFloat16>(stream, params, *plan);
  }
  return true;
}

}  // namespace quire
