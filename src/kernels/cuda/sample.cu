// Logits to tokens, in two kernels.  The first reads all logits, with many blocks per row: it draws
// the token of each chunk of a row that is greedy or not filtered, and summarises the segments of a
// row that is.  The second, one block per row, takes the best of the chunks, or finds the tokens
// that min_p, top_k and top_p leave and draws one of them.
#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/vocab_select.cuh"
#include "kernels/philox.h"

namespace quire {
namespace {

// What a chunk gives for a row with a NaN or +inf, and for a row that is filtered.
constexpr Rank kBadRow = ~Rank{0};
constexpr Rank kNoToken = 0;

struct SampleParams {
  const float* logits = nullptr;
  int64_t stride = 0;
  int vocab = 0;
  int num_chunks = 0;
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

// u in (0, 1) times 2^32; rounding may take it to 1.
__device__ inline float uniform_times_2_32(uint32_t bits) { return __uint2float_rn(bits) + 0.5F; }

// Standard Gumbel number: -log(-log(1 - u)).
__device__ inline float gumbel(uint32_t bits) {
  const float u = fminf(uniform_times_2_32(bits) * 0x1p-32F, 1.0F - 0x1p-24F);
  return -logf(-log1pf(-u));
}
// Not less than it by more than kBoundError, and close where it is large: -log(u).
constexpr float kBoundError = 1e-4F;
__device__ inline float gumbel_bound(uint32_t bits) {
  constexpr float kLog2 = 0.69314718F;
  return 32.0F * kLog2 - kLog2 * __log2f(uniform_times_2_32(bits));
}

// What Gumbel-max maximises; the smaller id among equals.
__device__ inline Rank score_of(const RowSettings& settings, float value, int id) {
  return rank_of(value + gumbel(random_bits(settings.seed, settings.position, id)), id);
}
__device__ inline Rank score_of(const RowSettings& settings, int id) {
  return score_of(settings, settings.logits.value(settings.logits.logits[id]), id);
}

__device__ Rank best_logit(const float (&x)[kChunkVectors][4], int chunk) {
  float best = negative_infinity();
  int best_id = 0;
#pragma unroll
  for (int j = 0; j < kChunkVectors; ++j) {
    const int first = first_of_vector(chunk, j, static_cast<int>(threadIdx.x));
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

// The best score of a thread's tokens, unless one of the same warp is better.  Scores take two
// logarithms; they are computed only for tokens whose upper bound, of one, can win.
__device__ Rank best_score(const RowSettings& settings, const float (&x)[kChunkVectors][4],
                           int chunk) {
  const float inverse = fminf(1.0F / settings.logits.temperature, FLT_MAX);
  const auto position = settings.position;
  float bounds[kChunkVectors][4];
  float best_bound = negative_infinity();
  int best_id = 0;
#pragma unroll
  for (int j = 0; j < kChunkVectors; ++j) {
    const int first = first_of_vector(chunk, j, static_cast<int>(threadIdx.x));
    const std::array<uint32_t, 4> words = philox4x32(
        {static_cast<uint32_t>(first / 4), 0, static_cast<uint32_t>(position),
         static_cast<uint32_t>(position >> 32)},
        {static_cast<uint32_t>(settings.seed), static_cast<uint32_t>(settings.seed >> 32)});
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      bounds[j][i] = fmaf(x[j][i], inverse, gumbel_bound(words[i]));
      if (bounds[j][i] > best_bound) {
        best_bound = bounds[j][i];
        best_id = first + i;
      }
    }
  }
  Rank best = best_bound > negative_infinity() ? score_of(settings, best_id) : kNoToken;
  const float best_of_warp = warp_max(best != kNoToken ? value_of(best) : negative_infinity());
  if (best_of_warp == negative_infinity()) return kNoToken;
  // The product with the inverse is within 2^-22 of the quotient.
  const float limit = best_of_warp - 10 * kBoundError - 1e-6F * fabsf(best_of_warp);
  unsigned candidates = 0;
#pragma unroll
  for (int j = 0; j < kChunkVectors; ++j) {
#pragma unroll
    for (int i = 0; i < 4; ++i) candidates |= (bounds[j][i] >= limit ? 1U : 0U) << (4 * j + i);
  }
  for (; candidates != 0; candidates &= candidates - 1) {
    const int index = __ffs(static_cast<int>(candidates)) - 1;
    const int id = first_of_vector(chunk, index / 4, static_cast<int>(threadIdx.x)) + index % 4;
    if (id == best_id) continue;
    const Rank score = score_of(settings, id);
    if (score > best) best = score;
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
    best = best_score(settings, x, chunk);
  } else {
#pragma unroll
    for (int j = 0; j < kChunkVectors; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) x[j][i] = settings.logits.value(x[j][i]);
    }
    write_segments(x, chunk, params.segments(row), settings.needs_mass_of_all());
  }
  if (is_bad) best = kBadRow;
  best = block_max(best);
  if (threadIdx.x == 0) params.chunk_best[blockIdx.x] = best;
}

// A filtered row: its settings and the largest of its values, and this thread's segments.
struct FilteredRow {
  RowSettings settings;
  SegmentsView segments;
  float segment_max[kSegmentsPerThread];
  float max = 0.0F;
  uint32_t min_p_bits = 0;  // ordered bits of the least value that min_p keeps, and is finite

  __device__ FilteredRow(const SampleParams& params, const RowSettings& row_settings, int64_t row)
      : settings(row_settings), segments(params.segments(row)), max(negative_infinity()) {
#pragma unroll
    for (int i = 0; i < kSegmentsPerThread; ++i) {
      const int segment = segment_of(i);
      segment_max[i] = segment < segments.num ? segments.max[segment] : negative_infinity();
      max = fmaxf(max, segment_max[i]);
    }
    max = block_max(max);
    min_p_bits = ordered_bits(-FLT_MAX);
    if (settings.min_p > 0.0F) {
      const float threshold = fminf(max + logf(settings.min_p), max);
      min_p_bits = ::max(min_p_bits, ordered_bits(threshold));
    }
  }
  __device__ static int segment_of(int i) {
    return i * kSelectThreads + static_cast<int>(threadIdx.x);
  }
  // Mass of all tokens in units of the most likely one's.
  __device__ double mass_of_all() const {
    double mass = 0.0;
#pragma unroll
    for (int i = 0; i < kSegmentsPerThread; ++i) {
      if (segment_max[i] == negative_infinity()) continue;
      mass += static_cast<double>(segments.sum[segment_of(i)]) *
              exp(static_cast<double>(segment_max[i]) - max);
    }
    return block_sum(mass);
  }
};

// Ordered bits that every token to be kept has, and few others.
__device__ uint32_t floor_of_list(const FilteredRow& row, double mass_of_all) {
  const RowSettings& settings = row.settings;
  const bool has_small_top_k = settings.has_small_top_k(row.segments.num);
  if (!has_small_top_k && !settings.needs_mass_of_all()) return row.min_p_bits;
  uint32_t bits[kSegmentsPerThread];
  float weights[kSegmentsPerThread];
#pragma unroll
  for (int i = 0; i < kSegmentsPerThread; ++i) {
    const bool is_finite = row.segment_max[i] > negative_infinity();
    bits[i] = is_finite ? ordered_bits(row.segment_max[i]) : 0;
    weights[i] = has_small_top_k ? 1.0F : __expf(row.segment_max[i] - row.max);
  }
  const float target = has_small_top_k ? static_cast<float>(settings.top_k)
                                       : static_cast<float>(mass_of_all * settings.top_p);
  return max(row.min_p_bits, select_floor(bits, weights, fmaxf(target, FLT_MIN)));
}

constexpr int kNotInList = -1;  // instead of a token

// The result from the sorted list of all tokens above some value, if all that top_p keeps are in
// it.  mass_of_all: 0 if the list holds all tokens that top_p is about.
__device__ int draw_from_list(const FilteredRow& row, double mass_of_all, int size, int padded,
                              const SelectMemory& memory) {
  const RowSettings& settings = row.settings;
  const int per_thread = (padded + kSelectThreads - 1) / kSelectThreads;
  const int begin = static_cast<int>(threadIdx.x) * per_thread;
  uint32_t least_bits = 0;  // of the top_k most likely tokens; equals of the last of them stay
  if (settings.top_k > 0 && settings.top_k < size) {
    least_bits = bits_of(memory.list[settings.top_k - 1]);
  }
  const auto is_in_top_k = [&](int i) { return i < size && bits_of(memory.list[i]) >= least_bits; };
  const auto mass = [&](int i) {
    return exp(static_cast<double>(value_of(memory.list[i])) - row.max);
  };
  double sum = 0.0;
  if (settings.top_p < 1.0F) {
    for (int i = begin; i < begin + per_thread; ++i) sum += is_in_top_k(i) ? mass(i) : 0.0;
  }
  const Prefix<double> prefix = block_prefix(sum);
  double limit = HUGE_VAL;
  if (settings.top_p < 1.0F) {
    limit = settings.top_p * (mass_of_all > 0.0 ? mass_of_all : prefix.total);
    if (mass_of_all > 0.0 && prefix.total < limit) return kNotInList;
  }
  double before = prefix.before;  // mass of the more likely tokens
  Rank best = kNoToken;
  for (int i = begin; i < begin + per_thread && is_in_top_k(i); ++i) {
    if (i > 0 && before >= limit) break;
    if (settings.top_p < 1.0F) before += mass(i);
    best = max(best, score_of(settings, value_of(memory.list[i]), id_of(memory.list[i])));
  }
  return id_of(block_max(best));
}

// The result by radix selection over the whole row, for rows that leave too many tokens for a list.
__device__ int draw_from_all(const FilteredRow& row, SelectMemory& memory) {
  const RowSettings& settings = row.settings;
  SelectBounds bounds{.floor = first_rank(row.min_p_bits)};
  if (settings.top_k > 0) {
    const auto top_k = static_cast<Rank>(settings.top_k);
    bounds.floor = select_rank(
        settings.logits, bounds, [](float) { return 1U; }, [&](Rank) { return top_k; }, memory);
  }
  if (settings.top_p < 1.0F) {
    bounds.splits_equals = true;
    // Mass in fixed point: a sum that does not depend on the order.
    const auto mass = [&](float value) { return __float2uint_rn(expf(value - row.max) * 0x1p31F); };
    const auto target_of_total = [&](Rank total) {
      const double target = ceil(static_cast<double>(total) * settings.top_p);
      return target > 1.0 ? static_cast<Rank>(target) : Rank{1};
    };
    bounds.floor = select_rank(settings.logits, bounds, mass, target_of_total, memory);
  }
  Rank best = kNoToken;
  for_tokens(settings.logits, [&](float value, int id) {
    if (rank_of(value, id) >= bounds.floor) best = max(best, score_of(settings, value, id));
  });
  return id_of(block_max(best));
}

__device__ int draw_filtered(const FilteredRow& row, SelectMemory& memory) {
  const bool needs_mass = row.settings.needs_mass_of_all();
  const double mass_of_all = needs_mass ? row.mass_of_all() : 0.0;
  const int size =
      gather(row.settings.logits, row.segments, floor_of_list(row, mass_of_all), memory);
  if (size <= kListCapacity) {
    const int padded = sort_list(memory, size);
    const int token = draw_from_list(row, mass_of_all, size, padded, memory);
    if (token != kNotInList) return token;
  }
  return draw_from_all(row, memory);
}

__global__ void __launch_bounds__(kSelectThreads) finish_rows(const SampleParams params) {
  allow_next_kernel();
  wait_for_previous_kernel();
  __shared__ SelectMemory memory;
  const int64_t row = blockIdx.x;
  Rank best = kNoToken;
  for (int i = static_cast<int>(threadIdx.x); i < params.num_chunks; i += kSelectThreads) {
    best = max(best, params.chunk_best[row * params.num_chunks + i]);
  }
  best = block_max(best);
  int token = -1;
  if (best != kBadRow) {
    const RowSettings settings(params, row);
    if (!settings.is_filtered()) {
      token = best == kNoToken ? -1 : id_of(best);
    } else {
      const FilteredRow filtered(params, settings, row);
      if (filtered.max > negative_infinity()) token = draw_filtered(filtered, memory);
    }
  }
  if (threadIdx.x == 0) params.out[row] = token;
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
  launch(stream, "scan_chunks", scan_chunks,
         {.grid = dim3(static_cast<unsigned>(rows * chunks)), .block = dim3(kChunkThreads)},
         params);
  launch(stream, "finish_rows", finish_rows,
         {.grid = dim3(static_cast<unsigned>(rows)), .block = dim3(kSelectThreads)}, params);
}

}  // namespace quire
