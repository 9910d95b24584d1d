// Changes to the logits of some rows, in two kernels of a block per chunk of a row: the first finds
// out whether a token of the row can be drawn, the second applies the lists of the row to the
// tokens of its chunk, each block on its own.  A block reads all entries of its row, so that the
// lists need no order; there are few of them compared with the vocabulary.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/vocab_select.cuh"

namespace quire {
namespace {

using Args = AdjustLogitsArgs;

// What a chunk has, as bits.
constexpr int kHasFinite = 1;
constexpr int kHasBad = 2;  // NaN or +inf

struct AdjustParams {
  float* logits = nullptr;
  int64_t stride = 0;
  int vocab = 0;
  int num_chunks = 0;
  bool is_aligned = false;
  const int32_t* row_ids = nullptr;
  const int32_t* list_begin = nullptr;
  int64_t list_begin_stride = 0;
  const int32_t* token_ids = nullptr;
  const float* values = nullptr;
  const float* repetition_penalty = nullptr;
  const float* frequency_penalty = nullptr;
  const float* presence_penalty = nullptr;
  int32_t* could_draw = nullptr;
  int32_t* chunk_bits = nullptr;  // [rows, num_chunks]

  __device__ float* row_logits(int64_t row) const { return logits + row_ids[row] * stride; }
};

__global__ void __launch_bounds__(kChunkThreads) inspect_chunks(const AdjustParams params) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x / params.num_chunks;
  const int chunk = static_cast<int>(blockIdx.x % params.num_chunks);
  const LogitsRow logits{
      .logits = params.row_logits(row), .vocab = params.vocab, .is_aligned = params.is_aligned};
  float x[kChunkVectors][4];
  load_chunk(logits, chunk, x);
  bool has_finite = false;
  bool has_bad = false;
#pragma unroll
  for (int j = 0; j < kChunkVectors; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      has_finite |= fabsf(x[j][i]) <= FLT_MAX;
      has_bad |= !(x[j][i] <= FLT_MAX);
    }
  }
  const int finite = __syncthreads_or(has_finite ? kHasFinite : 0);
  const int bad = __syncthreads_or(has_bad ? kHasBad : 0);
  if (threadIdx.x == 0) {
    params.chunk_bits[blockIdx.x] = (finite != 0 ? kHasFinite : 0) | (bad != 0 ? kHasBad : 0);
  }
}

// Calls f(token id - first id of the chunk, entry) for each entry of a list in this chunk; then the
// block is in step.
template <typename F>
__device__ void for_entries(const AdjustParams& params, const int32_t* list_begin, Args::List list,
                            int chunk, F f) {
  const int end = list_begin[list + 1];
  for (int entry = list_begin[list] + static_cast<int>(threadIdx.x); entry < end;
       entry += kChunkThreads) {
    const int place = params.token_ids[entry] - chunk * kChunkSize;
    if (0 <= place && place < kChunkSize) f(place, entry);
  }
  __syncthreads();
}

// -inf for all tokens of the chunk but those of the list.
__device__ void keep_allowed(const AdjustParams& params, const int32_t* list_begin, int chunk,
                             float* logits) {
  __shared__ uint32_t is_allowed[kChunkSize / 32];
  for (int i = static_cast<int>(threadIdx.x); i < kChunkSize / 32; i += kChunkThreads) {
    is_allowed[i] = 0;
  }
  __syncthreads();
  for_entries(params, list_begin, Args::kAllowed, chunk,
              [&](int place, int) { atomicOr(&is_allowed[place / 32], 1U << place % 32); });
  const int size = min(params.vocab - chunk * kChunkSize, kChunkSize);
  for (int place = static_cast<int>(threadIdx.x); place < size; place += kChunkThreads) {
    if ((is_allowed[place / 32] >> place % 32 & 1) == 0) logits[place] = negative_infinity();
  }
  __syncthreads();
}

__device__ bool could_draw(const AdjustParams& params, int64_t row) {
  int bits = 0;
  for (int i = static_cast<int>(threadIdx.x); i < params.num_chunks; i += kChunkThreads) {
    bits |= params.chunk_bits[row * params.num_chunks + i];
  }
  const bool has_finite = __syncthreads_or(bits & kHasFinite) != 0;
  const bool has_bad = __syncthreads_or(bits & kHasBad) != 0;
  return has_finite && !has_bad;
}

__global__ void __launch_bounds__(kChunkThreads) adjust_chunks(const AdjustParams params) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x / params.num_chunks;
  const int chunk = static_cast<int>(blockIdx.x % params.num_chunks);
  const bool is_good = could_draw(params, row);
  if (chunk == 0 && threadIdx.x == 0) params.could_draw[row] = is_good ? 1 : 0;
  if (!is_good) return;
  float* logits = params.row_logits(row) + chunk * kChunkSize;
  const int32_t* list_begin = params.list_begin + row * params.list_begin_stride;
  if (list_begin[Args::kAllowed] < list_begin[Args::kAllowed + 1]) {
    keep_allowed(params, list_begin, chunk, logits);
  }
  for_entries(params, list_begin, Args::kMasked, chunk,
              [&](int place, int) { logits[place] = negative_infinity(); });
  for_entries(params, list_begin, Args::kBiased, chunk, [&](int place, int entry) {
    logits[place] = __fadd_rn(logits[place], params.values[entry]);
  });
  const float repetition = params.repetition_penalty[row];
  const float frequency = params.frequency_penalty[row];
  const float presence = params.presence_penalty[row];
  // Not contracted: the host rounds every product.
  for_entries(params, list_begin, Args::kPenalized, chunk, [&](int place, int entry) {
    const float count = params.values[entry];
    float logit = logits[place];
    logit = logit > 0.0F ? __fdiv_rn(logit, repetition) : __fmul_rn(logit, repetition);
    logit = __fsub_rn(logit, __fmul_rn(frequency, count));
    if (count > 0.0F) logit = __fsub_rn(logit, presence);
    logits[place] = logit;
  });
}

}  // namespace

void cuda_adjust_logits(Stream& stream, const AdjustLogitsArgs& args) {
  const int64_t rows = args.row_ids.rows();
  if (rows == 0) return;
  const int chunks = num_chunks(args.logits.shape[1]);
  CHECK(rows * chunks <= INT32_MAX, rows, " rows");
  CHECK(args.logits.dtype == DType::kF32, "logits in ", to_string(args.logits.dtype));
  CHECK(args.list_begin.shape[1] == Args::kNumLists + 1, args.list_begin.shape[1], " lists");
  const Workspace::Scope scope(stream.workspace());
  AdjustParams params;
  params.logits = args.logits.as<float>();
  params.stride = args.logits.row_stride;
  params.vocab = static_cast<int>(args.logits.shape[1]);
  params.num_chunks = chunks;
  params.is_aligned = rows_are_aligned<float, 4>(params.logits, params.stride);
  params.row_ids = args.row_ids.as<const int32_t>();
  params.list_begin = args.list_begin.as<const int32_t>();
  params.list_begin_stride = args.list_begin.row_stride;
  params.token_ids = args.token_ids.as<const int32_t>();
  params.values = args.values.as<const float>();
  params.repetition_penalty = args.repetition_penalty.as<const float>();
  params.frequency_penalty = args.frequency_penalty.as<const float>();
  params.presence_penalty = args.presence_penalty.as<const float>();
  params.could_draw = args.could_draw.as<int32_t>();
  params.chunk_bits = static_cast<int32_t*>(
      stream.workspace().take(rows * chunks * static_cast<int64_t>(sizeof(int32_t))));
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(rows * chunks)),
                          .block = dim3(kChunkThreads)};
  launch(stream, "inspect_logits", inspect_chunks, shape, params);
  launch(stream, "adjust_logits", adjust_chunks, shape, params);
}

}  // namespace quire
