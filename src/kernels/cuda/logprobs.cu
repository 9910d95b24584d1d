// Log-softmax values, in two kernels: the first, with many blocks per row, summarises segments of
// the row and counts the tokens above the given one; the second, one block per row, adds up and
// lists the most likely tokens.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/vocab_search.cuh"

namespace quire {
namespace {

struct LogprobsParams {
  const float* logits = nullptr;
  int64_t stride = 0;
  int vocab = 0;
  int num_chunks = 0;
  bool is_aligned = false;
  const int32_t* token_ids = nullptr;
  const int32_t* num_top = nullptr;
  int max_top = 0;
  float* logprob = nullptr;
  int32_t* rank = nullptr;
  int32_t* top_ids = nullptr;
  int64_t top_ids_stride = 0;
  float* top_logprobs = nullptr;
  int64_t top_logprobs_stride = 0;
  int32_t* chunk_greater = nullptr;  // [rows, num_chunks] logits above the given token's
  float* segment_max = nullptr;      // [rows, num_chunks * kSegmentsPerChunk]
  float* segment_sum = nullptr;

  __device__ SegmentsView segments(int64_t row) const {
    const int num = num_chunks * kSegmentsPerChunk;
    return {.max = segment_max + row * num, .sum = segment_sum + row * num, .num = num};
  }
  __device__ LogitsRow logits_row(int64_t row) const {
    return {.logits = logits + row * stride, .vocab = vocab, .is_aligned = is_aligned};
  }
  // NaN for no token, such as the -1 of a row that could not be sampled.
  __device__ float own_logit(int64_t row) const {
    const int token = token_ids[row];
    const bool is_token = token >= 0 && token < vocab;
    return is_token ? logits[row * stride + token] : __uint_as_float(0x7fc00000U);
  }
};

__global__ void __launch_bounds__(kChunkThreads) scan_chunks(const LogprobsParams params) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x / params.num_chunks;
  const int chunk = static_cast<int>(blockIdx.x % params.num_chunks);
  const LogitsRow logits = params.logits_row(row);
  float x[kChunkVectors][4];
  load_chunk(logits, chunk, x);
  const float own = params.own_logit(row);
  int greater = 0;
#pragma unroll
  for (int j = 0; j < kChunkVectors; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) greater += x[j][i] > own ? 1 : 0;
  }
  write_segments(x, chunk, params.segments(row), true);
  greater = block_sum<kChunkThreads>(greater);
  if (threadIdx.x == 0) params.chunk_greater[blockIdx.x] = greater;
}

// Log of the sum of the exponentials of a row.
__device__ double log_sum_of(const SegmentMaxima& maxima, const SegmentsView& segments) {
  float sum = 0.0F;
#pragma unroll
  for (int i = 0; i < kSegmentsPerThread; ++i) {
    if (maxima.own[i] == negative_infinity()) continue;
    sum += segments.sum[SegmentMaxima::segment_of(i)] * expf(maxima.own[i] - maxima.of_row);
  }
  return maxima.of_row + log(static_cast<double>(block_sum<kSelectThreads>(sum)));
}

__device__ void write_list(const LogprobsParams& params, int64_t row, double log_sum, int begin,
                           int count, const SelectMemory& memory) {
  int32_t* ids = params.top_ids + row * params.top_ids_stride + begin;
  float* logprobs = params.top_logprobs + row * params.top_logprobs_stride + begin;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kSelectThreads) {
    ids[i] = id_of(memory.list[i]);
    logprobs[i] = static_cast<float>(value_of(memory.list[i]) - log_sum);
  }
}

// Finds the num_top most likely tokens by way of the segments; false if that cannot be done.
// Requires: memory.bins are clear.
__device__ bool list_from_segments(const LogitsRow& logits, const SegmentMaxima& maxima,
                                   int num_segments, int num_top, SelectMemory& memory) {
  if (num_top > num_segments) return false;
  uint32_t weights[kSegmentsPerThread];
#pragma unroll
  for (uint32_t& weight : weights) weight = 1;
  const float distance = select_distance(maxima, weights, static_cast<uint32_t>(num_top), memory);
  const int size = gather(logits, maxima, {.max = maxima.of_row, .distance = distance}, memory);
  if (size < num_top || size > kListCapacity) return false;
  sort_list(memory, size);
  return true;
}

// The next tokens after those of at least `ceiling`: exactly `count` of them, sorted.
__device__ void list_from_all(const VocabSearch& search, Rank ceiling, int count) {
  SelectMemory& memory = search.memory;
  const SearchRange range{.ceiling = ceiling};
  const Rank floor =
      search.select(range, CountOfTokens{}, [&](Rank) { return static_cast<Rank>(count); });
  __syncthreads();  // the list may be in use
  if (threadIdx.x == 0) memory.list_size = 0;
  __syncthreads();
  for_vectors(
      search.row, search.cluster, [&](const SearchValues& values, const SearchPlaces& first) {
        unsigned which = 0;
#pragma unroll
        for (int j = 0; j < kSearchVectors; ++j) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const Rank rank = rank_of(values[j][i], first[j] + i);
            const bool has = first[j] + i < search.row.vocab && rank >= floor && rank < ceiling;
            which |= (has ? 1U : 0U) << (4 * j + i);
          }
        }
        append_tokens(values, first, which, memory.list, &memory.list_size);
      });
  __syncthreads();
  sort_list(memory, count);
}

__global__ void __launch_bounds__(kSelectThreads) finish_rows(const LogprobsParams params) {
  __shared__ SelectMemory memory;
  __shared__ SearchMemory search_memory;
  allow_next_kernel();
  clear_bins(memory);
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x;
  const SegmentsView segments = params.segments(row);
  int greater = 0;
  for (int i = static_cast<int>(threadIdx.x); i < params.num_chunks; i += kSelectThreads) {
    greater += params.chunk_greater[row * params.num_chunks + i];
  }
  const SegmentMaxima maxima(segments);
  const double log_sum = log_sum_of(maxima, segments);
  greater = block_sum<kSelectThreads>(greater);
  if (threadIdx.x == 0) {
    params.logprob[row] = static_cast<float>(params.own_logit(row) - log_sum);
    params.rank[row] = 1 + greater;
  }
  const int num_top = min(min(params.num_top[row], params.max_top), params.vocab);
  if (num_top <= 0) return;
  const LogitsRow logits = params.logits_row(row);
  if (list_from_segments(logits, maxima, segments.num, num_top, memory)) {
    write_list(params, row, log_sum, 0, num_top, memory);
    return;
  }
  const VocabSearch search{.row = logits,
                           .max = maxima.of_row,
                           .cluster = {.rank = 0, .size = 1},
                           .memory = memory,
                           .search = search_memory};
  Rank ceiling = ~Rank{0};
  for (int begin = 0; begin < num_top; begin += kListCapacity) {
    const int count = min(num_top - begin, kListCapacity);
    list_from_all(search, ceiling, count);
    write_list(params, row, log_sum, begin, count, memory);
    ceiling = memory.list[count - 1];
    __syncthreads();
  }
}

}  // namespace

void cuda_logprobs(Stream& stream, const LogprobsArgs& args) {
  const int64_t rows = args.logits.rows();
  if (rows == 0) return;
  const int chunks = num_chunks(args.logits.shape[1]);
  CHECK(rows * chunks <= INT32_MAX, rows, " rows");
  CHECK(args.logits.dtype == DType::kF32, "logits in ", to_string(args.logits.dtype));
  const Workspace::Scope scope(stream.workspace());
  const int64_t num_segments = rows * chunks * kSegmentsPerChunk;
  const auto take = [&](int64_t count) { return stream.workspace().take(count * 4); };
  LogprobsParams params;
  params.logits = args.logits.as<const float>();
  params.stride = args.logits.row_stride;
  params.vocab = static_cast<int>(args.logits.shape[1]);
  params.num_chunks = chunks;
  params.is_aligned = rows_are_aligned<float, 4>(params.logits, params.stride);
  params.token_ids = args.token_ids.as<const int32_t>();
  params.num_top = args.num_top.as<const int32_t>();
  params.max_top = args.max_top;
  params.logprob = args.logprob.as<float>();
  params.rank = args.rank.as<int32_t>();
  params.top_ids = args.top_ids.as<int32_t>();
  params.top_ids_stride = args.top_ids.row_stride;
  params.top_logprobs = args.top_logprobs.as<float>();
  params.top_logprobs_stride = args.top_logprobs.row_stride;
  params.chunk_greater = static_cast<int32_t*>(take(rows * chunks));
  params.segment_max = static_cast<float*>(take(num_segments));
  params.segment_sum = static_cast<float*>(take(num_segments));
  launch(stream, "logprobs_chunks", scan_chunks,
         {.grid = dim3(static_cast<unsigned>(rows * chunks)), .block = dim3(kChunkThreads)},
         params);
  launch(stream, "logprobs_rows", finish_rows,
         {.grid = dim3(static_cast<unsigned>(rows)), .block = dim3(kSelectThreads)}, params);
}

}  // namespace quire
