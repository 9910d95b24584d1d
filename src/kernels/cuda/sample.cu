// Logits to tokens, in two kernels.  The first reads all logits, with many blocks per row: it draws
// the token of each chunk of a row that is greedy or not filtered, and summarises the segments of a
// row that is.  The second, a cluster of blocks per row, takes the best of the chunks, or finds the
// tokens that min_p, top_k and top_p leave and draws one of them: the first block alone if they fit
// in a list, else all blocks together.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/vocab_search.cuh"
#include "kernels/philox.h"

namespace quire {
namespace {

// What a chunk gives for a row with a NaN or +inf, and for a row that is filtered.
constexpr Rank kBadRow = ~Rank{0};
constexpr Rank kNoToken = 0;
constexpr int kSelectBlocksPerProcessor = 2;

__device__ inline Rank max_rank(Rank a, Rank b) { return a > b ? a : b; }

struct SampleParams {
  const float* logits = nullptr;
  int64_t stride = 0;
  int vocab = 0;
  int num_chunks = 0;
  int cluster_size = 1;
  bool is_aligned = false;
  const float* temperature = nullptr;
  const int32_t* top_k = nullptr;
  const float* top_p = nullptr;
  const float* min_p = nullptr;
  const uint64_t* seeds = nullptr;
  const uint64_t* positions = nullptr;
  int32_t* out = nullptr;
  Rank* chunk_best = nullptr;    // [rows, num_chunks] of scores
  float* segment_max = nullptr;  // [rows, num_chunks * kSegmentsPerChunk]
  float* segment_sum = nullptr;
  float* open_max = nullptr;  // [rows] of the values of rows that take all blocks, else -inf

  __device__ SegmentsView segments(int64_t row) const {
    const int num = num_chunks * kSegmentsPerChunk;
    return {.max = segment_max + row * num, .sum = segment_sum + row * num, .num = num};
  }
};

// How one row is sampled.
struct RowSettings {
  LogitsRow logits;
  int top_k = 0;  // 0: off
  float top_p = 1.0F;
  float min_p = 0.0F;
  uint64_t seed = 0;
  uint64_t position = 0;

  __device__ RowSettings(const SampleParams& params, int64_t row)
      : logits{.logits = params.logits + row * params.stride,
               .vocab = params.vocab,
               .is_aligned = params.is_aligned,
               .temperature = params.temperature[row]},
        top_k(params.top_k[row]),
        top_p(params.top_p[row]),
        min_p(params.min_p[row]),
        seed(params.seeds[row]),
        position(params.positions[row]) {
    if (top_k < 0 || top_k >= params.vocab) top_k = 0;
  }
  __device__ bool is_greedy() const { return logits.temperature == 0.0F; }
  __device__ bool is_filtered() const {
    return !is_greedy() && (top_k > 0 || top_p < 1.0F || min_p > 0.0F);
  }
  // Whether segments can tell where the top_k most likely tokens end.
  __device__ bool has_small_top_k(int num_segments) const {
    return top_k > 0 && top_k <= num_segments;
  }
  // Whether top_p is of the mass of all tokens, which the sums of the segments give.
  __device__ bool needs_mass_of_all() const {
    return top_p < 1.0F && top_k == 0 && !(min_p > 0.0F);
  }
};

// Standard Gumbel number, -log(-log(1 - u)), of u in (0, 1) from 32 random bits.
__device__ inline float gumbel(uint32_t bits) {
  const float u = fminf((__uint2float_rn(bits) + 0.5F) * 0x1p-32F, 1.0F - 0x1p-24F);
  return -logf(-log1pf(-u));
}
// Not less than it by more than kBoundError, and close where it is large: -log of the upper 23 bits
// of u, which the mantissa of a number in [1, 2) takes without a conversion.
constexpr float kBoundError = 1e-4F;
__device__ inline float gumbel_bound(uint32_t bits) {
  constexpr float kLog2 = 0.69314718F;
  const float u = __uint_as_float(bits >> 9 | 0x3f800000U) - 1.0F;
  return __fmul_rn(-kLog2, __log2f(u));
}

// What Gumbel-max maximises; the smaller id among equals.
__device__ inline Rank score_of(float value, uint32_t bits, int id) {
  return rank_of(value + gumbel(bits), id);
}

// The random bits of four tokens.
__device__ inline std::array<uint32_t, 4> bits_of_vector(const RowSettings& settings, int first) {
  return philox4x32(
      {static_cast<uint32_t>(first / 4), 0, static_cast<uint32_t>(settings.position),
       static_cast<uint32_t>(settings.position >> 32)},
      {static_cast<uint32_t>(settings.seed), static_cast<uint32_t>(settings.seed >> 32)});
}

// Upper bounds of the scores of four tokens, with kBoundError.
__device__ inline void bound_scores(const RowSettings& settings,
                                    const std::array<uint32_t, 4>& bits, const float (&x)[4],
                                    float (&bounds)[4]) {
  const float inverse = fminf(1.0F / settings.logits.temperature, FLT_MAX);
#pragma unroll
  for (int i = 0; i < 4; ++i) bounds[i] = __fmaf_rn(x[i], inverse, gumbel_bound(bits[i]));
}

__device__ Rank best_logit(const float (&x)[kChunkVectors][4], int chunk) {
  float best = negative_infinity();
  int best_id = 0;
#pragma unroll
  for (int j = 0; j < kChunkVectors; ++j) {
    const int first = first_of_vector(chunk, j, chunk_thread());
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (x[j][i] > best) {
        best = x[j][i];
        best_id = first + i;
      }
    }
  }
  return best > negative_infinity() ? rank_of(best, best_id) : kNoToken;
}

// The best score of those tokens of a vector whose bounds reach a limit, and the largest bound of
// the others.
struct VectorScore {
  Rank best = kNoToken;
  float other_bound = negative_infinity();
};
__device__ VectorScore score_vector(const RowSettings& settings, const float (&x)[4], int first,
                                    float limit) {
  const std::array<uint32_t, 4> bits = bits_of_vector(settings, first);
  float bounds[4];
  bound_scores(settings, bits, x, bounds);
  VectorScore result;
  unsigned which = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    which |= (bounds[i] >= limit ? 1U : 0U) << i;
    if (!(bounds[i] >= limit)) result.other_bound = fmaxf(result.other_bound, bounds[i]);
  }
  for (; which != 0; which &= which - 1) {
    const int index = __ffs(static_cast<int>(which)) - 1;
    float logit = x[0];
    uint32_t own_bits = bits[0];
#pragma unroll
    for (int i = 1; i < 4; ++i) {  // by comparison, as registers have no index
      logit = i == index ? x[i] : logit;
      own_bits = i == index ? bits[i] : own_bits;
    }
    const float value = settings.logits.value(logit);
    result.best = max_rank(result.best, score_of(value, own_bits, first + index));
  }
  return result;
}

// Tokens of lower bounds have a score below `best`.  The product with the inverse is within 2^-22
// of the quotient.
__device__ inline float score_limit(float best) {
  return best - 10 * kBoundError - 1e-6F * fabsf(best);
}

// The same for one of several vectors, of tokens first[vector] + i.
template <int kVectors>
__device__ VectorScore score_vector_of(const RowSettings& settings, const float (&x)[kVectors][4],
                                       const int (&first)[kVectors], int vector, float limit) {
  float own[4];
  int own_first = 0;
#pragma unroll
  for (int j = 0; j < kVectors; ++j) {
    own_first = j == 0 || j == vector ? first[j] : own_first;
#pragma unroll
    for (int i = 0; i < 4; ++i) own[i] = j == 0 || j == vector ? x[j][i] : own[i];
  }
  return score_vector(settings, own, own_first, limit);
}

// The best score of a thread's tokens, unless one of the same warp is better.  Scores take two
// logarithms; they are computed only for tokens whose upper bound, of one, can win.
template <int kVectors>
__device__ Rank best_score(const RowSettings& settings, const float (&x)[kVectors][4],
                           const int (&first)[kVectors]) {
  float best_bound = negative_infinity();
  float other_bound = negative_infinity();  // the largest of the other vectors
  int best_vector = 0;
#pragma unroll
  for (int j = 0; j < kVectors; ++j) {
    float bounds[4];
    bound_scores(settings, bits_of_vector(settings, first[j]), x[j], bounds);
    const float bound = fmaxf(fmaxf(bounds[0], bounds[1]), fmaxf(bounds[2], bounds[3]));
    other_bound = fmaxf(other_bound, fminf(bound, best_bound));
    if (bound > best_bound) best_vector = j;
    best_bound = fmaxf(best_bound, bound);
  }
  Rank best = kNoToken;
  if (best_bound > negative_infinity()) {
    const VectorScore score = score_vector_of(settings, x, first, best_vector, best_bound);
    best = score.best;
    other_bound = fmaxf(other_bound, score.other_bound);
  }
  const float best_of_warp = warp_max(best != kNoToken ? value_of(best) : negative_infinity());
  if (best_of_warp == negative_infinity()) return kNoToken;
  const float limit = score_limit(best_of_warp);
  if (other_bound >= limit) {
#pragma unroll 1
    for (int j = 0; j < kVectors; ++j) {
      best = max_rank(best, score_vector_of(settings, x, first, j, limit).best);
    }
  }
  return best;
}

__global__ void __launch_bounds__(kChunkThreads) scan_chunks(const SampleParams params) {
  allow_next_kernel();
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x / params.num_chunks;
  const int chunk = static_cast<int>(blockIdx.x % params.num_chunks);
  const RowSettings settings(params, row);
  float x[kChunkVectors][4];
  load_chunk(settings.logits, chunk, x);
  bool is_bad = false;
#pragma unroll
  for (int j = 0; j < kChunkVectors; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) is_bad |= !(x[j][i] <= FLT_MAX);
  }
  Rank best = kNoToken;
  if (settings.is_greedy()) {
    best = best_logit(x, chunk);
  } else if (!settings.is_filtered()) {
    int first[kChunkVectors];
#pragma unroll
    for (int j = 0; j < kChunkVectors; ++j) first[j] = first_of_vector(chunk, j, chunk_thread());
    best = best_score(settings, x, first);
  } else {
#pragma unroll
    for (int j = 0; j < kChunkVectors; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[j][i] = settings.logits.value(x[j][i]);
    }
    write_segments(x, chunk, params.segments(row), settings.needs_mass_of_all());
  }
  if (is_bad) best = kBadRow;
  best = block_max<kChunkThreads>(best);
  if (threadIdx.x == 0) params.chunk_best[blockIdx.x] = best;
}

// The least of the values that min_p keeps and that are finite.
__device__ float least_value(const RowSettings& settings, float max) {
  if (!(settings.min_p > 0.0F)) return -FLT_MAX;
  return fmaxf(fminf(max + logf(settings.min_p), max), -FLT_MAX);
}

// Mass of all tokens in units of the most likely one's.
__device__ float mass_of_all(const SegmentMaxima& maxima, const SegmentsView& segments) {
  float mass = 0.0F;
#pragma unroll
  for (int i = 0; i < kSegmentsPerThread; ++i) {
    if (maxima.own[i] == negative_infinity()) continue;
    mass += segments.sum[SegmentMaxima::segment_of(i)] * expf(maxima.own[i] - maxima.of_row);
  }
  return block_sum<kSelectThreads>(mass);
}

// A list of all tokens to be kept and few others, or of too many.
__device__ ListFilter list_filter(const RowSettings& settings, const SegmentMaxima& maxima,
                                  int num_segments, float mass, SelectMemory& memory) {
  ListFilter filter{.max = maxima.of_row,
                    .distance = -negative_infinity(),
                    .least = least_value(settings, maxima.of_row)};
  const bool has_small_top_k = settings.has_small_top_k(num_segments);
  if (!has_small_top_k && !settings.needs_mass_of_all()) return filter;
  // The most likely tokens of the segments alone weigh the target.
  const float unit = 0x1p31F / static_cast<float>(num_segments);
  uint32_t weights[kSegmentsPerThread];
#pragma unroll
  for (int i = 0; i < kSegmentsPerThread; ++i) {
    weights[i] = has_small_top_k ? 1 : __float2uint_rz(expf(maxima.own[i] - maxima.of_row) * unit);
  }
  const uint32_t target = has_small_top_k ? static_cast<uint32_t>(settings.top_k)
                                          : __float2uint_ru(mass * settings.top_p * unit);
  filter.distance = select_distance(maxima, weights, max(target, 1U), memory);
  return filter;
}

constexpr int kNotInList = -1;  // instead of a token

// The result from the list of all tokens that pass some filter, if all that top_p keeps are in it.
// mass_of_all: 0 if the list holds all tokens that top_p is about.
__device__ int draw_from_list(const RowSettings& settings, float max, float mass_of_all, int size,
                              SelectMemory& memory) {
  const bool has_top_p = settings.top_p < 1.0F;
  const bool has_top_k = settings.top_k > 0 && settings.top_k < size;
  if (has_top_p || has_top_k) sort_list(memory, size);
  uint32_t least_bits = 0;  // of the top_k most likely tokens; equals of the last of them stay
  if (has_top_k) least_bits = bits_of(memory.list[settings.top_k - 1]);
  const int per_thread = (size + kSelectThreads - 1) / kSelectThreads;
  const int begin = static_cast<int>(threadIdx.x) * per_thread;
  const int end = min(begin + per_thread, size);
  const auto is_in_top_k = [&](int i) { return bits_of(memory.list[i]) >= least_bits; };
  const auto mass = [&](int i) { return expf(value_of(memory.list[i]) - max); };
  double before = 0.0;  // mass of the more likely tokens
  double limit = HUGE_VAL;
  if (has_top_p) {
    double sum = 0.0;
    for (int i = begin; i < end && is_in_top_k(i); ++i) sum += mass(i);
    const Prefix<double> prefix = block_prefix(sum);
    before = prefix.before;
    limit = settings.top_p * (mass_of_all > 0.0F ? mass_of_all : prefix.total);
    if (mass_of_all > 0.0F && prefix.total < limit) return kNotInList;
  }
  Rank best = kNoToken;
  for (int i = begin; i < end && is_in_top_k(i); ++i) {
    if (i > 0 && before >= limit) break;
    if (has_top_p) before += mass(i);
    const int id = id_of(memory.list[i]);
    const uint32_t bits = random_bits(settings.seed, settings.position, id);
    best = max_rank(best, score_of(value_of(memory.list[i]), bits, id));
  }
  return id_of(block_max<kSelectThreads>(best));
}

// The result by way of the segments, in one block; kNotInList if that takes too long a list.
// Requires: memory.bins are clear.
__device__ int draw_from_segments(const RowSettings& settings, const SegmentMaxima& maxima,
                                  const SegmentsView& segments, SelectMemory& memory) {
  const float mass = settings.needs_mass_of_all() ? mass_of_all(maxima, segments) : 0.0F;
  const ListFilter filter = list_filter(settings, maxima, segments.num, mass, memory);
  const int size = gather(settings.logits, maxima, filter, memory);
  if (size > kListCapacity) return kNotInList;
  return draw_from_list(settings, maxima.of_row, mass, size, memory);
}

// The least rank that is kept, by search among all tokens.
__device__ Rank floor_of_kept(const RowSettings& settings, const VocabSearch& search) {
  SearchRange range{.floor = first_rank(ordered_bits(least_value(settings, search.max)))};
  if (settings.top_k > 0) {
    const auto top_k = static_cast<Rank>(settings.top_k);
    const Rank last = search.select(range, CountOfTokens{}, [&](Rank) { return top_k; });
    range.floor = first_rank(bits_of(last));  // equals of the last stay
  }
  if (!(settings.top_p < 1.0F)) return range.floor;
  const MassOfTokens mass(search.max, settings.logits.vocab);
  return search.select(range, mass, [&](Rank total) {
    return max_rank(__double2ull_ru(static_cast<double>(total) * settings.top_p), 1);
  });
}

// The token of a row of which all tokens of at least some rank are kept, in the first block.
__device__ int draw_from_all(RowSettings settings, Rank floor, const VocabSearch& search) {
  Rank best = kNoToken;
  const LogitsRow row = settings.logits;
  settings.logits.temperature = 1.0F;  // what is scored is divided by it
  float limit = negative_infinity();
  for_vectors(row, search.cluster, [&](const SearchValues& values, const SearchPlaces& first) {
#pragma unroll
    for (int j = 0; j < kSearchVectors; ++j) {
      float kept[4];
      bool has_any = false;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const bool is_kept = rank_of(values[j][i], first[j] + i) >= floor;
        kept[i] = is_kept ? values[j][i] : negative_infinity();
        has_any |= is_kept;
      }
      if (!has_any) continue;
      best = max_rank(best, score_vector(settings, kept, first[j], limit).best);
    }
    limit = score_limit(warp_max(best != kNoToken ? value_of(best) : negative_infinity()));
  });
  best = block_max<kSelectThreads>(best);
  if (threadIdx.x == 0) of_block(search.search.best, 0)[search.cluster.rank] = best;
  cluster_barrier();
  for (int i = 0; i < search.cluster.size; ++i) best = max_rank(best, search.search.best[i]);
  return id_of(best);
}

// A row without filters: the best of its chunks, by one warp.
__device__ void take_best_chunk(const SampleParams& params, int64_t row) {
  if (threadIdx.x >= 32) return;
  Rank best = kNoToken;
  for (int i = static_cast<int>(threadIdx.x); i < params.num_chunks; i += 32) {
    best = max_rank(best, params.chunk_best[row * params.num_chunks + i]);
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    best = max_rank(best, __shfl_xor_sync(0xffffffffU, best, offset));
  }
  const bool has_token = best != kNoToken && best != kBadRow;
  if (threadIdx.x == 0) params.out[row] = has_token ? id_of(best) : -1;
}

// A filtered row, in the first block of its cluster.  Returns the largest of its values if its
// token remains to be drawn, else -inf.
__device__ float finish_alone(const SampleParams& params, const RowSettings& settings, int64_t row,
                              SelectMemory& memory) {
  bool is_bad = false;
  for (int i = static_cast<int>(threadIdx.x); i < params.num_chunks; i += kSelectThreads) {
    is_bad |= params.chunk_best[row * params.num_chunks + i] == kBadRow;
  }
  const SegmentsView segments = params.segments(row);
  const SegmentMaxima maxima(segments);
  int token = -1;
  bool is_open = false;
  if (__syncthreads_or(is_bad ? 1 : 0) == 0 && maxima.of_row > negative_infinity()) {
    token = draw_from_segments(settings, maxima, segments, memory);
    is_open = token == kNotInList;
  }
  if (threadIdx.x == 0 && !is_open) params.out[row] = token;
  return is_open ? maxima.of_row : negative_infinity();
}

__global__ void __launch_bounds__(kSelectThreads, kSelectBlocksPerProcessor)
    finish_rows(const SampleParams params) {
  __shared__ SelectMemory memory;
  __shared__ SearchMemory search_memory;
  allow_next_kernel();
  clear_bins(memory);
  wait_for_previous_kernel();
  const int64_t row = blockIdx.x / params.cluster_size;
  const RowCluster cluster{.rank = static_cast<int>(blockIdx.x % params.cluster_size),
                           .size = params.cluster_size};
  const RowSettings settings(params, row);
  if (!settings.is_filtered()) {
    if (cluster.rank == 0) take_best_chunk(params, row);
    return;
  }
  float max = negative_infinity();
  if (cluster.rank == 0) {
    max = finish_alone(params, settings, row, memory);
    if (threadIdx.x == 0) params.open_max[row] = max;
  }
  if (cluster.size > 1) {
    cluster_barrier();
    if (cluster.rank > 0) max = __ldcg(params.open_max + row);
  }
  if (max == negative_infinity()) return;
  const VocabSearch search{.row = settings.logits,
                           .max = max,
                           .cluster = cluster,
                           .memory = memory,
                           .search = search_memory};
  const Rank floor = floor_of_kept(settings, search);
  // Settings are read again, because registers are scarce.
  const int token = draw_from_all(RowSettings(params, row), floor, search);
  if (cluster.rank == 0 && threadIdx.x == 0) params.out[row] = token;
}

// As many blocks per row as run at the same time.
int cluster_size(int64_t rows) {
  const CudaProperties& properties = cuda_properties();
  if (properties.arch < 90) return 1;
  int size = kMaxClusterSize;
  while (size > 1 && rows * size > kSelectBlocksPerProcessor * properties.num_sms) size /= 2;
  return size;
}

}  // namespace

void cuda_sample(Stream& stream, const SampleArgs& args) {
  const int64_t rows = args.logits.rows();
  if (rows == 0) return;
  const int vocab = static_cast<int>(args.logits.shape[1]);
  const int chunks = num_chunks(args.logits.shape[1]);
  CHECK(rows * chunks <= INT32_MAX, rows, " rows");
  CHECK(args.logits.dtype == DType::kF32, "logits in ", to_string(args.logits.dtype));
  const Workspace::Scope scope(stream.workspace());
  const int64_t num_segments = rows * chunks * kSegmentsPerChunk;
  const auto take = [&](int64_t num_bytes) { return stream.workspace().take(num_bytes); };
  SampleParams params;
  params.logits = args.logits.as<const float>();
  params.stride = args.logits.row_stride;
  params.vocab = vocab;
  params.num_chunks = chunks;
  params.is_aligned = rows_are_aligned<float, 4>(params.logits, params.stride);
  params.temperature = args.temperature.as<const float>();
  params.top_k = args.top_k.as<const int32_t>();
  params.top_p = args.top_p.as<const float>();
  params.min_p = args.min_p.as<const float>();
  params.seeds = args.seeds;
  params.positions = args.positions;
  params.out = args.out.as<int32_t>();
  params.chunk_best = static_cast<Rank*>(take(rows * chunks * static_cast<int64_t>(sizeof(Rank))));
  params.segment_max = static_cast<float*>(take(num_segments * 4));
  params.segment_sum = static_cast<float*>(take(num_segments * 4));
  params.open_max = static_cast<float*>(take(rows * 4));
  params.cluster_size = cluster_size(rows);
  launch(stream, "scan_chunks", scan_chunks,
         {.grid = dim3(static_cast<unsigned>(rows * chunks)), .block = dim3(kChunkThreads)},
         params);
  launch(stream, "finish_rows", finish_rows,
         {.grid = dim3(static_cast<unsigned>(rows * params.cluster_size)),
          .block = dim3(kSelectThreads),
          .cluster_size = params.cluster_size},
         params);
}

}  // namespace quire
