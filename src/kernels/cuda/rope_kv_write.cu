// Heads of q, k and v: RMSNorm, rotation, and the write to the KV cache, in one pass.  A group of
// 8, 16 or 32 threads has one head of one token, 8 elements each.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/kv_layout.cuh"
#include "kernels/cuda/lora_addition.cuh"
#include "kernels/cuda/lora_expand.h"
#include "kernels/cuda/vectors.cuh"

namespace quire {
namespace {

constexpr int kThreads = 128;
constexpr int kElements = 8;  // of a thread
constexpr unsigned kAllThreads = 0xffffffffU;

// The heads of a token: those of q, then of k, then of v.
template <typename T>
struct HeadsParams {
  T* q = nullptr;
  int64_t q_stride = 0;
  int num_q_heads = 0;
  const T* k = nullptr;
  int64_t k_stride = 0;
  const T* v = nullptr;
  int64_t v_stride = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int64_t num_tokens = 0;
  const float* q_norm_weight = nullptr;  // null: no norm
  const float* k_norm_weight = nullptr;
  float norm_eps = 0.0F;
  const int32_t* positions = nullptr;
  const float* cos_sin = nullptr;  // null: no rotation
  int64_t cos_sin_stride = 0;
  int rotary_dim = 0;
  bool interleaved = false;
  const int32_t* slot_mapping = nullptr;
  KVLayout<T> cache{KVCacheView()};
};

// One head of one token, and what becomes of it.
template <typename T>
struct Head {
  const T* from = nullptr;  // null if there is nothing to do
  T* to = nullptr;
  bool is_rotated = false;
};

template <typename T>
__device__ inline Head<T> head_of(const HeadsParams<T>& params, int64_t token, int head) {
  if (head < params.num_q_heads) {
    T* q = params.q + token * params.q_stride + static_cast<int64_t>(head) * params.head_dim;
    return {.from = q, .to = q, .is_rotated = true};
  }
  const int slot = params.slot_mapping[token];
  if (slot < 0) return {};  // a token that only fills up the batch
  head -= params.num_q_heads;
  const bool is_value = head >= params.num_kv_heads;
  if (is_value) head -= params.num_kv_heads;
  const int block_size = params.cache.block_size;
  T* key = params.cache.key(slot / block_size, head, slot % block_size);
  const int64_t column = static_cast<int64_t>(head) * params.head_dim;
  if (is_value) {
    return {.from = params.v + token * params.v_stride + column,
            .to = key + params.cache.value_offset};
  }
  return {.from = params.k + token * params.k_stride + column, .to = key, .is_rotated = true};
}

// Rotates elements [column, column + kElements) of a head of which each thread of the group holds
// such a part.  Every thread of the warp calls it; `is_rotated` is false where nothing is to be
// done.  `exchange`: kLanes * kElements floats of the group.
template <int kLanes, bool kVector, typename T>
__device__ inline void rotate(const HeadsParams<T>& params, const float* cos_sin, int column,
                              bool is_rotated, float* exchange, float (&x)[kElements]) {
  const int half = params.rotary_dim / 2;
  is_rotated = is_rotated && column < params.rotary_dim;
  if (!params.interleaved && kVector && half % kElements == 0) {
    const bool is_first = column < half;
    const int lane = column / kElements;
    const int distance = half / kElements;
    const int partner = !is_rotated ? lane : is_first ? lane + distance : lane - distance;
    float other[kElements];
#pragma unroll
    for (int i = 0; i < kElements; ++i) other[i] = __shfl_sync(kAllThreads, x[i], partner, kLanes);
    if (!is_rotated) return;
    float cosines[kElements];
    float sines[kElements];
    const float* from = cos_sin + (is_first ? column : column - half);
    load_floats(from, cosines);
    load_floats(from + half, sines);
#pragma unroll
    for (int i = 0; i < kElements; ++i) {
      x[i] = x[i] * cosines[i] + (is_first ? -other[i] : other[i]) * sines[i];
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < kElements; ++i) exchange[column + i] = x[i];
  __syncwarp();
  if (!is_rotated) return;
#pragma unroll
  for (int i = 0; i < kElements; ++i) {
    const int element = column + i;
    if (element >= params.rotary_dim) continue;
    const bool is_first = params.interleaved ? element % 2 == 0 : element < half;
    const int distance = params.interleaved ? 1 : half;
    const int pair = params.interleaved ? element / 2 : is_first ? element : element - half;
    const float other = exchange[is_first ? element + distance : element - distance];
    x[i] = x[i] * cos_sin[pair] + (is_first ? -other : other) * cos_sin[half + pair];
  }
}

// What is added to a thread's elements before anything else.
struct NoAddition {
  __device__ void add_to(float (&/*x*/)[kElements]) const {}
};

// One head of one token, of which each thread of a group has kElements from `column` on.  All
// threads of the block call it.
template <int kLanes, bool kVector, typename T, typename Addition>
__device__ inline void write_head(const HeadsParams<T>& params, int64_t token, int head_index,
                                  bool has_elements, Addition& addition) {
  __shared__ float exchange[kThreads / kLanes][kLanes * kElements];
  const int column = static_cast<int>(threadIdx.x % kLanes) * kElements;
  const bool is_q = head_index < params.num_q_heads;
  const bool is_value = head_index >= params.num_q_heads + params.num_kv_heads;
  constexpr int kVectorSize = kVector ? kElements : 1;

  const float* norm_weight = is_q       ? params.q_norm_weight
                             : is_value ? nullptr
                                        : params.k_norm_weight;
  float weight[kElements];
#pragma unroll
  for (int i = 0; i < kElements; i += kVectorSize) {
    auto& part = *reinterpret_cast<float(*)[kVectorSize]>(weight + i);
    if (has_elements && norm_weight != nullptr) load_floats(norm_weight + column + i, part);
  }
  wait_for_previous_kernel();

  Head<T> head;
  if (has_elements) head = head_of(params, token, head_index);
  float x[kElements] = {};
#pragma unroll
  for (int i = 0; i < kElements; i += kVectorSize) {
    auto& part = *reinterpret_cast<float(*)[kVectorSize]>(x + i);
    if (head.from != nullptr) load_floats(head.from + column + i, part);
  }
  addition.add_to(x);
  if (params.q_norm_weight != nullptr || params.k_norm_weight != nullptr) {
    float sum = 0.0F;
#pragma unroll
    for (int i = 0; i < kElements; ++i) sum = fmaf(x[i], x[i], sum);
    for (int offset = kLanes / 2; offset > 0; offset /= 2) {
      sum += __shfl_xor_sync(kAllThreads, sum, offset);
    }
    const float mean = sum / static_cast<float>(params.head_dim);
    const float scale = 1.0F / sqrtf(mean + params.norm_eps);
    if (has_elements && norm_weight != nullptr) {
#pragma unroll
      for (int i = 0; i < kElements; ++i) x[i] *= scale * weight[i];
    }
  }
  if (params.cos_sin != nullptr) {
    const float* cos_sin = params.cos_sin;
    if (head.is_rotated) cos_sin += params.positions[token] * params.cos_sin_stride;
    rotate<kLanes, kVector>(params, cos_sin, column, head.is_rotated,
                            exchange[threadIdx.x / kLanes], x);
  }
#pragma unroll
  for (int i = 0; i < kElements; i += kVectorSize) {
    auto& part = *reinterpret_cast<float(*)[kVectorSize]>(x + i);
    if (head.to != nullptr) store_floats(part, head.to + column + i);
  }
}

template <typename T, int kLanes, bool kVector>
__global__ void __launch_bounds__(kThreads) write_heads(const HeadsParams<T> params) {
  allow_next_kernel();
  const unsigned group = blockIdx.x * (kThreads / kLanes) + threadIdx.x / kLanes;
  const unsigned num_heads = params.num_q_heads + 2 * params.num_kv_heads;
  const int64_t token = group / num_heads;
  const int column = static_cast<int>(threadIdx.x % kLanes) * kElements;
  const bool has_elements = token < params.num_tokens && column < params.head_dim;
  NoAddition addition;
  write_head<kLanes, kVector>(params, token, static_cast<int>(group % num_heads), has_elements,
                              addition);
}

// What the token's adapter adds; a block has heads of one token.
template <typename T>
class HeadAddition {
 public:
  // column: of [q | k | v].
  __device__ HeadAddition(const lora::AdditionParams& params, int64_t token, int column,
                          bool has_elements)
      : params_(params),
        place_(params.places[token]),
        part_(params.columns, column),
        b_(params, has_elements ? lora::part_at(params, place_, part_.index) : LoraPart{},
           column - part_.begin) {
    const int warp = static_cast<int>(threadIdx.x) / lora::kChunkRanks;
    for (int p = 0; p < params.columns.num_parts; ++p) {
      const LoraPart part = lora::part_at(params, place_, p);
      if (p == warp) factor_part_ = part;
      max_rank_ = max(max_rank_, part.rank);
    }
  }

  __device__ void add_to(float (&x)[kElements]) {
    alignas(16) __shared__ float factors[kMaxLoraParts][1][lora::kChunkRanks];
    const auto load_factors = [&](int first) {
      static_assert(kThreads == kMaxLoraParts * lora::kChunkRanks);
      const int rank = static_cast<int>(threadIdx.x) % lora::kChunkRanks;
      const int part = static_cast<int>(threadIdx.x) / lora::kChunkRanks;
      factors[part][0][rank] =
          lora::load_factor(params_, place_.index, factor_part_, part, first + rank);
      __syncthreads();
    };
    auto& values = reinterpret_cast<float(&)[1][kElements]>(x);
    if (max_rank_ > 0) {
      load_factors(0);
      b_.add_first(factors[part_.index], values);
    }
    for (int first = lora::kChunkRanks; first < max_rank_; first += lora::kChunkRanks) {
      __syncthreads();  // the last ones have been read
      load_factors(first);
      b_.add_next(first, factors[part_.index], values);
    }
  }

 private:
  const lora::AdditionParams& params_;
  LoraTokenPlace place_;
  lora::PartPlace part_;
  lora::ColumnsOfB<T, kElements> b_;
  LoraPart factor_part_ = {};  // of which this thread loads a factor
  int max_rank_ = 0;
};

template <typename T, int kLanes>
__global__ void __launch_bounds__(kThreads, 4)
    write_heads_deferred(const HeadsParams<T> params,
                         const __grid_constant__ lora::AdditionParams addition_params) {
  allow_next_kernel();
  constexpr int kGroups = kThreads / kLanes;
  const int num_heads = params.num_q_heads + 2 * params.num_kv_heads;
  const int blocks_per_token = (num_heads + kGroups - 1) / kGroups;
  const int64_t token = blockIdx.x / blocks_per_token;
  const int head_index = static_cast<int>(blockIdx.x % blocks_per_token) * kGroups +
                         static_cast<int>(threadIdx.x) / kLanes;
  const int column = static_cast<int>(threadIdx.x % kLanes) * kElements;
  const bool has_elements = head_index < num_heads && column < params.head_dim;
  HeadAddition<T> addition(addition_params, token, head_index * params.head_dim + column,
                           has_elements);
  write_head<kLanes, true>(params, token, head_index, has_elements, addition);
}

template <typename T>
bool has_vectors(const HeadsParams<T>& params) {
  return rows_are_aligned<T, kElements>(params.q, params.q_stride) &&
         rows_are_aligned<T, kElements>(params.k, params.k_stride) &&
         rows_are_aligned<T, kElements>(params.v, params.v_stride) &&
         rows_are_aligned<float, kElements>(params.cos_sin, 0) && params.cos_sin_stride % 4 == 0 &&
         rows_are_aligned<float, kElements>(params.q_norm_weight, 0) &&
         rows_are_aligned<float, kElements>(params.k_norm_weight, 0);
}

template <typename T, int kLanes>
void launch_heads(Stream& stream, const HeadsParams<T>& params, const LoraAddArgs* lora) {
  constexpr int kGroups = kThreads / kLanes;
  const int64_t num_heads = params.num_q_heads + 2 * params.num_kv_heads;
  const int64_t num_groups = params.num_tokens * num_heads;
  CHECK(num_groups <= INT32_MAX, num_groups, " heads");
  if constexpr (!std::is_same_v<T, float>) {
    if (lora != nullptr && has_vectors(params)) {
      const int64_t blocks = params.num_tokens * ((num_heads + kGroups - 1) / kGroups);
      launch(stream, "write_heads", write_heads_deferred<T, kLanes>,
             {.grid = dim3(static_cast<unsigned>(blocks)), .block = dim3(kThreads)}, params,
             lora::addition_params(*lora));
      return;
    }
  }
  if (lora != nullptr) lora_expand_deferred(stream, *lora);
  launch(stream, "write_heads",
         has_vectors(params) ? write_heads<T, kLanes, true> : write_heads<T, kLanes, false>,
         {.grid = dim3(static_cast<unsigned>((num_groups + kGroups - 1) / kGroups)),
          .block = dim3(kThreads)},
         params);
}

template <typename T>
void launch_heads(Stream& stream, const HeadsParams<T>& params, const LoraAddArgs* lora = nullptr) {
  if (params.num_tokens == 0) return;
  CHECK(params.head_dim % kElements == 0 && params.head_dim <= 32 * kElements, "head_dim ",
        params.head_dim);
  if (params.head_dim <= 8 * kElements) return launch_heads<T, 8>(stream, params, lora);
  if (params.head_dim <= 16 * kElements) return launch_heads<T, 16>(stream, params, lora);
  launch_heads<T, 32>(stream, params, lora);
}

template <typename T>
void set_rope(const RopeArgs& args, HeadsParams<T>& params) {
  params.q = args.x.as<T>();
  params.q_stride = args.x.row_stride;
  params.num_q_heads = static_cast<int>(args.x.shape[1] / args.head_dim);
  params.head_dim = args.head_dim;
  params.num_tokens = args.x.rows();
  if (args.cos_sin.empty()) return;
  CHECK(args.rotary_dim % 2 == 0 && args.rotary_dim <= args.head_dim, "rotary_dim ",
        args.rotary_dim);
  params.positions = args.positions.as<const int32_t>();
  params.cos_sin = args.cos_sin.as<const float>();
  params.cos_sin_stride = args.cos_sin.row_stride;
  params.rotary_dim = args.rotary_dim;
  params.interleaved = args.interleaved;
}

template <typename T>
void set_write(const KVCacheWriteArgs& args, HeadsParams<T>& params) {
  const KVCacheView& cache = args.cache;
  CHECK(cache.dtype == args.k.dtype && cache.dtype == args.v.dtype, to_string(args.k.dtype),
        " into a cache of ", to_string(cache.dtype));
  CHECK(cache.block_bytes % 16 == 0 && cache.layer_offset % 16 == 0 &&
            reinterpret_cast<uintptr_t>(cache.arena) % 16 == 0,
        "blocks of ", cache.block_bytes, " bytes, layer at ", cache.layer_offset);
  params.k = args.k.as<const T>();
  params.k_stride = args.k.row_stride;
  params.v = args.v.as<const T>();
  params.v_stride = args.v.row_stride;
  params.num_kv_heads = cache.num_kv_heads;
  params.head_dim = cache.head_dim;
  params.num_tokens = args.slot_mapping.rows();
  params.slot_mapping = args.slot_mapping.as<const int32_t>();
  params.cache = KVLayout<T>(cache);
}

}  // namespace

void cuda_rope(Stream& stream, const RopeArgs& args) {
  dispatch_float(args.x.dtype, [&](auto element) {
    HeadsParams<decltype(element)> params;
    set_rope(args, params);
    launch_heads(stream, params);
  });
}

void cuda_kv_cache_write(Stream& stream, const KVCacheWriteArgs& args) {
  dispatch_float(args.k.dtype, [&](auto element) {
    HeadsParams<decltype(element)> params;
    set_write(args, params);
    launch_heads(stream, params);
  });
}

void cuda_qk_norm_rope_kv_write(Stream& stream, const QkNormRopeKVWriteArgs& args) {
  CHECK(args.rope.head_dim == args.write.cache.head_dim, "heads of ", args.rope.head_dim, " and ",
        args.write.cache.head_dim);
  CHECK(args.rope.x.rows() == args.write.slot_mapping.rows(), args.rope.x.rows(), " tokens");
  CHECK(args.rope.x.dtype == args.write.k.dtype, "q in ", to_string(args.rope.x.dtype));
  dispatch_float(args.rope.x.dtype, [&](auto element) {
    HeadsParams<decltype(element)> params;
    set_rope(args.rope, params);
    set_write(args.write, params);
    params.q_norm_weight = args.q_norm_weight.as<const float>();
    params.k_norm_weight = args.k_norm_weight.as<const float>();
    params.norm_eps = args.norm_eps;
    launch_heads(stream, params, args.lora ? &*args.lora : nullptr);
  });
}

}  // namespace quire
