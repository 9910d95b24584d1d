// Attention without tensor cores, for what they do not take: f32, bf16 on sm_75, and head sizes
// that no model in wide use has.  One warp per query token and query head.
#include "kernels/cuda/kv_layout.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/paged_attention_work.cuh"

namespace quire {
namespace {

constexpr int kWarps = 4;
constexpr int kMaxHeadDim = 256;
constexpr int kDimsPerLane = kMaxHeadDim / 32;

template <typename T>
struct ScalarParams {
  const T* q = nullptr;
  T* out = nullptr;
  int64_t q_stride = 0;
  int64_t out_stride = 0;
  KVLayout<T> cache;
  const int32_t* query_start_loc = nullptr;
  const int32_t* seq_lens = nullptr;
  const int32_t* block_table = nullptr;
  int64_t block_table_stride = 0;
  float scale = 0.0F;
  float softcap = 0.0F;
  int sliding_window = 0;
  int num_seqs = 0;
  int num_heads = 0;
  int group_size = 0;
};

// The keys that one query sees, begin .. end - 1, of a sequence and a KV head.
struct Keys {
  int seq = 0;
  int kv_head = 0;
  int begin = 0;
  int end = 0;
};

template <typename T>
__device__ float dot(const float* q, const T* key, int head_dim) {
  constexpr int kElements = 16 / sizeof(T);
  float sum = 0.0F;
  for (int d = 0; d < head_dim; d += kElements) {
    const auto piece = *reinterpret_cast<const Vector<T, kElements>*>(key + d);
#pragma unroll
    for (int i = 0; i < kElements; ++i) sum += q[d + i] * to_float(piece.values[i]);
  }
  return sum;
}

// A running softmax over 32 keys at a time: scores with a key per lane, values with dimensions
// lane, lane + 32, ... per lane.
template <typename T>
__device__ void attend(const ScalarParams<T>& params, const Keys& keys, const float* q,
                       float (&out)[kDimsPerLane]) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int head_dim = params.cache.head_dim;
  const int block_size = params.cache.block_size;
  const int32_t* blocks = params.block_table + keys.seq * params.block_table_stride;
  float max = -INFINITY;
  float sum = 0.0F;
  for (int first = keys.begin; first < keys.end; first += 32) {
    const int key = first + lane;
    const T* data = nullptr;
    float score = -INFINITY;
    if (key < keys.end) {
      data = params.cache.key(blocks[key / block_size], keys.kv_head, key % block_size);
      score = dot(q, data, head_dim) * params.scale;
      if (params.softcap > 0.0F) score = params.softcap * tanhf(score / params.softcap);
    }
    const float new_max = fmaxf(max, warp_max(score));
    const float rescale = expf(max - new_max);
    const float power = expf(score - new_max);
    max = new_max;
    sum = sum * rescale + warp_sum(power);
    for (float& value : out) value *= rescale;
    for (int k = 0; k < min(32, keys.end - first); ++k) {
      const float weight = __shfl_sync(0xffffffffU, power, k);
      const T* values = reinterpret_cast<const T*>(__shfl_sync(
                            0xffffffffU, reinterpret_cast<unsigned long long>(data), k)) +
                        params.cache.value_offset;
#pragma unroll
      for (int i = 0; i < kDimsPerLane; ++i) {
        if (lane + 32 * i < head_dim) out[i] += weight * to_float(values[lane + 32 * i]);
      }
    }
  }
  for (float& value : out) value = sum > 0.0F ? value / sum : 0.0F;
}

// Block (x, y): token x, query heads kWarps * y on.
template <typename T>
__global__ void __launch_bounds__(32 * kWarps)
    scalar_kernel(const __grid_constant__ ScalarParams<T> params) {
  __shared__ float queries[kWarps][kMaxHeadDim];
  allow_next_kernel();
  wait_for_previous_kernel();

  const int lane = static_cast<int>(threadIdx.x % 32);
  const int warp = static_cast<int>(threadIdx.x / 32);
  const int token = static_cast<int>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y) * kWarps + warp;
  if (head >= params.num_heads || token >= params.query_start_loc[params.num_seqs]) return;
  const ListPlace place = find_item(token, params.num_seqs, [&](int seq) {
    return params.query_start_loc[seq + 1] - params.query_start_loc[seq];
  });
  const int end = params.seq_lens[place.seq] - (place.count - 1 - (token - place.begin));
  const int window = params.sliding_window;
  const Keys keys{.seq = place.seq,
                  .kv_head = head / params.group_size,
                  .begin = window > 0 ? max(0, end - window) : 0,
                  .end = end};

  const int head_dim = params.cache.head_dim;
  const int64_t column = static_cast<int64_t>(head) * head_dim;
  const T* q = params.q + token * params.q_stride + column;
  for (int d = lane; d < head_dim; d += 32) queries[warp][d] = to_float(q[d]);
  __syncwarp();
  float result[kDimsPerLane] = {};
  attend(params, keys, queries[warp], result);
  T* out = params.out + token * params.out_stride + column;
#pragma unroll
  for (int i = 0; i < kDimsPerLane; ++i) {
    if (lane + 32 * i < head_dim) out[lane + 32 * i] = from_float<T>(result[i]);
  }
}

}  // namespace

void paged_attention_scalar(Stream& stream, const PagedAttentionArgs& args) {
  CHECK(args.cache.head_dim <= kMaxHeadDim, "head_dim ", args.cache.head_dim);
  const AttentionBatch& batch = *args.batch;
  dispatch_float(args.cache.dtype, [&]<typename T>(T) {
    const ScalarParams<T> params{.q = args.q.as<T>(),
                                 .out = args.out.as<T>(),
                                 .q_stride = args.q.row_stride,
                                 .out_stride = args.out.row_stride,
                                 .cache = KVLayout<T>(args.cache),
                                 .query_start_loc = batch.query_start_loc.as<int32_t>(),
                                 .seq_lens = batch.seq_lens.as<int32_t>(),
                                 .block_table = batch.block_table.as<int32_t>(),
                                 .block_table_stride = batch.block_table.row_stride,
                                 .scale = args.scale,
                                 .softcap = args.softcap,
                                 .sliding_window = args.sliding_window,
                                 .num_seqs = batch.num_seqs,
                                 .num_heads = args.num_heads,
                                 .group_size = args.num_heads / args.cache.num_kv_heads};
    const LaunchShape shape{
        .grid = dim3(static_cast<unsigned>(args.q.rows()),
                     static_cast<unsigned>((args.num_heads + kWarps - 1) / kWarps)),
        .block = dim3(32 * kWarps)};
    launch(stream, "paged_attention_scalar", scalar_kernel<T>, shape, params);
  });
}

}  // namespace quire
