// Prefill: chunks of query tokens, bound by the tensor cores and the exponentials.
//
// A block of threads takes up to 128 rows of one sequence and one KV head; a row is a query token
// and one of the KV head's query heads, so that short chunks of grouped heads fill the rows, too.
// It goes over the keys that any of its rows sees in tiles, with a running softmax in registers
// (Dao 2023, "FlashAttention-2", arXiv:2307.08691).  While a tile's scores are computed its values
// are on their way, while its values are added up the next tile's keys.
#include <algorithm>

#include "kernels/cuda/kv_layout.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/paged_attention_work.cuh"

namespace quire {
namespace {

constexpr int kChunkKeys = 16;  // consecutive in the cache

// kSmall: for 64 KiB of shared memory (sm_75).
template <int kDim, bool kSmall>
struct PrefillShape {
  static constexpr int kWarps = 4;
  static constexpr int kThreads = 32 * kWarps;
  // Two tiles of 16 rows per warp halve the traffic of shared memory, while registers last.
  static constexpr int kRowTiles = kSmall || kDim > 128 ? 1 : 2;
  static constexpr int kWarpRows = 16 * kRowTiles;
  static constexpr int kRows = kWarps * kWarpRows;
  static constexpr int kKeys = kDim <= 128 ? 64 : (kSmall ? 16 : 32);
  static constexpr int kChunks = kKeys / kChunkKeys;
  // An odd number of 16-byte pieces per row, so that the rows of a matrix are in distinct banks.
  static constexpr int kStride = kDim + 8;
  // Addresses of two tiles' chunks, queries, keys, values.
  static constexpr int kAddressBytes = 2 * kChunks * 8;
  static constexpr int kSharedBytes = kAddressBytes + (kRows + 2 * kKeys) * kStride * 2;
};

template <typename T>
struct PrefillParams {
  const T* q = nullptr;
  T* out = nullptr;
  int64_t q_stride = 0;
  int64_t out_stride = 0;
  KVLayout<T> cache;
  const int32_t* query_start_loc = nullptr;
  const int32_t* seq_lens = nullptr;
  const int32_t* block_table = nullptr;
  int64_t block_table_stride = 0;
  ScoreScale scale;
  int sliding_window = 0;  // a number beyond all positions if there is none
  int num_seqs = 0;
  int num_kv_heads = 0;
  int group_size = 0;  // query heads per KV head
};

// What a block of threads works on: rows of one sequence, whose row r is query token r /
// group_size. In shared memory, since registers are short.
struct RowTile {
  int seq = -1;  // none
  int kv_head = 0;
  int first_row = 0;
  int num_rows = 0;
  int first_token = 0;     // of the sequence, in the step
  int first_position = 0;  // of that token in the sequence
  int first_seen = 0;      // position of the first row's token
  int begin = 0;           // first key that a row sees
  int end = 0;             // beyond the last
};

// Tiles in the order of sequences, backwards: a sequence's last rows see the most keys.
template <typename T>
__device__ RowTile find_row_tile(const PrefillParams<T>& params, int tile_rows) {
  const auto num_rows = [&](int seq) {
    return (params.query_start_loc[seq + 1] - params.query_start_loc[seq]) * params.group_size;
  };
  const auto num_tiles = [&](int seq) { return (num_rows(seq) + tile_rows - 1) / tile_rows; };
  const int block = static_cast<int>(blockIdx.x);
  const int index = count_items(params.num_seqs, num_tiles) - 1 - block / params.num_kv_heads;
  if (index < 0) return {};
  const ListPlace place = find_item(index, params.num_seqs, num_tiles);
  const int first_row = (index - place.begin) * tile_rows;
  const int first_token = params.query_start_loc[place.seq];
  const int num_queries = params.query_start_loc[place.seq + 1] - first_token;
  const int end_row = min(first_row + tile_rows, num_rows(place.seq));
  const int first_position = params.seq_lens[place.seq] - num_queries;
  const int first = first_position + first_row / params.group_size;
  return {.seq = place.seq,
          .kv_head = block % params.num_kv_heads,
          .first_row = first_row,
          .num_rows = end_row - first_row,
          .first_token = first_token,
          .first_position = first_position,
          .first_seen = first,
          .begin = max(0, first - params.sliding_window + 1),
          .end = first_position + (end_row - 1) / params.group_size + 1};
}

// What one warp does with its rows.
template <typename T, int kDim, bool kSmall>
class PrefillWarp {
  using Shape = PrefillShape<kDim, kSmall>;
  static constexpr int kRowTiles = Shape::kRowTiles;
  static constexpr int kSteps = kDim / 16;
  static constexpr int kRowBytes = Shape::kStride * static_cast<int>(sizeof(T));

 public:
  __device__ PrefillWarp(const PrefillParams<T>& params, const RowTile& tile)
      : params_(params), tile_(tile), lane_(static_cast<int>(threadIdx.x % 32)) {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        max_[m][h] = -INFINITY;
        sum_[m][h] = 0.0F;
      }
#pragma unroll
      for (int d = 0; d < 2 * kSteps; ++d) {
#pragma unroll
        for (float& value : out_[m][d]) value = 0.0F;
      }
    }
  }

  static __device__ int first_row() {
    return static_cast<int>(threadIdx.x / 32) * Shape::kWarpRows;
  }

  using Scores = float[kRowTiles][Shape::kKeys / 8][4];

  // Rows are queries, the depth is dimensions, columns are keys.
  __device__ void multiply_keys(uint32_t queries, uint32_t keys, Scores& scores) const {
    const uint32_t from_q = queries + (first_row() + lane_ % 16) * kRowBytes + lane_ / 16 * 16;
    const uint32_t from_k = keys + (lane_ / 16 * 8 + lane_ % 8) * kRowBytes + lane_ / 8 % 2 * 16;
#pragma unroll
    for (int d = 0; d < kSteps; ++d) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        load_matrices(a[m], from_q + 16 * m * kRowBytes + 32 * d);
      }
#pragma unroll
      for (int k = 0; k < Shape::kKeys / 16; ++k) {
        uint32_t b[4];
        load_matrices(b, from_k + 16 * k * kRowBytes + 32 * d);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          multiply_add<T>(scores[m][2 * k], a[m], b[0], b[1]);
          multiply_add<T>(scores[m][2 * k + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // For tiles of which a row may not see every key.  Rows beyond the last see what that sees.
  __device__ void mask(int first_key, Scores& scores) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = min(first_row() + 16 * m + 8 * h + lane_ / 4, tile_.num_rows - 1);
        const int position = tile_.first_position + (tile_.first_row + row) / params_.group_size;
        const int behind = position - first_key - 2 * (lane_ % 4);
#pragma unroll
        for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
          for (int k = 0; k < 2; ++k) {
            const int distance = behind - 8 * n - k;
            if (distance < 0 || distance >= params_.sliding_window) {
              scores[m][n][2 * h + k] = -INFINITY;
            }
          }
        }
      }
    }
  }

  __device__ void cap(Scores& scores) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
        for (float& score : scores[m][n]) score = params_.scale.capped(score);
      }
    }
  }

  // Turns scores into powers of two.
  __device__ void softmax(Scores& scores) {
    const float factor = params_.scale.factor;
    raise_maxima(scores);
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        // A row may have seen no key yet.
        const float offset = max_[m][h] == -INFINITY ? 0.0F : max_[m][h] * factor;
#pragma unroll
        for (int n = 0; n < Shape::kKeys / 8; ++n) {
#pragma unroll
          for (int k = 2 * h; k < 2 * h + 2; ++k) {
            scores[m][n][k] = fast_exp2(scores[m][n][k] * factor - offset);
            sum_[m][h] += scores[m][n][k];
          }
        }
      }
    }
  }

  // Rows are queries, the depth is keys, columns are dimensions.
  __device__ void multiply_values(const Scores& powers, uint32_t values) {
    const uint32_t from = values + lane_ % 16 * kRowBytes + lane_ / 16 * 16;
#pragma unroll
    for (int k = 0; k < Shape::kKeys / 16; ++k) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float(&pair)[4] = powers[m][2 * k + i / 2];
          a[m][i] = pack<T>(pair[i % 2 * 2], pair[i % 2 * 2 + 1]);
        }
      }
#pragma unroll
      for (int d = 0; d < kSteps; ++d) {
        uint32_t b[4];
        load_matrices_transposed(b, from + 16 * k * kRowBytes + 32 * d);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          multiply_add<T>(out_[m][2 * d], a[m], b[0], b[1]);
          multiply_add<T>(out_[m][2 * d + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // Results to the warp's rows of shared memory.
  __device__ void store(T* rows) const {
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float sum = sum_[m][h];
        sum += __shfl_xor_sync(0xffffffffU, sum, 1);
        sum += __shfl_xor_sync(0xffffffffU, sum, 2);
        const float inverse = sum > 0.0F ? 1.0F / sum : 0.0F;
        T* row = rows + (first_row() + 16 * m + 8 * h + lane_ / 4) * Shape::kStride;
#pragma unroll
        for (int d = 0; d < 2 * kSteps; ++d) {
          *reinterpret_cast<uint32_t*>(row + 8 * d + 2 * (lane_ % 4)) =
              pack<T>(out_[m][d][2 * h] * inverse, out_[m][d][2 * h + 1] * inverse);
        }
      }
    }
  }

 private:
  // The powers are relative to a row's maximum, which may lag behind by a factor that f16 holds:
  // then the sums are seldom scaled to a new one.
  __device__ void raise_maxima(const Scores& scores) {
    constexpr float kLag = 8.0F;  // exponents
    const float factor = params_.scale.factor;
    float max[kRowTiles][2];
    bool is_behind = false;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        max[m][h] = scores[m][0][2 * h];
#pragma unroll
        for (int n = 0; n < Shape::kKeys / 8; ++n) {
          max[m][h] = fmaxf(max[m][h], fmaxf(scores[m][n][2 * h], scores[m][n][2 * h + 1]));
        }
        max[m][h] = fmaxf(max[m][h], __shfl_xor_sync(0xffffffffU, max[m][h], 1));
        max[m][h] = fmaxf(max[m][h], __shfl_xor_sync(0xffffffffU, max[m][h], 2));
        const bool is_row_behind = max[m][h] * factor > max_[m][h] * factor + kLag;
        is_behind = is_behind || is_row_behind;
        if (!is_row_behind) max[m][h] = max_[m][h];
      }
    }
    if (__any_sync(0xffffffffU, is_behind) == 0) return;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const float rescale =
            max_[m][h] == max[m][h] ? 1.0F : fast_exp2((max_[m][h] - max[m][h]) * factor);
        max_[m][h] = max[m][h];
        sum_[m][h] *= rescale;
#pragma unroll
        for (int d = 0; d < 2 * kSteps; ++d) {
          out_[m][d][2 * h] *= rescale;
          out_[m][d][2 * h + 1] *= rescale;
        }
      }
    }
  }

  const PrefillParams<T>& params_;
  const RowTile& tile_;
  const int lane_;
  float max_[kRowTiles][2];  // of the scores of rows i and i + 8 of each 16
  float sum_[kRowTiles][2];  // of the powers in this lane's columns
  float out_[kRowTiles][2 * kSteps][4];
};

// What the threads of a block do together: copies.
template <typename T, int kDim, bool kSmall>
class PrefillTiles {
  using Shape = PrefillShape<kDim, kSmall>;
  static constexpr int kPieces = kDim / 8;  // of 16 bytes, per row
  // That copy a row of keys together: the largest power of two that divides its pieces.
  static constexpr int kRowThreads = kPieces & -kPieces;

 public:
  __device__ PrefillTiles(const PrefillParams<T>& params, const RowTile& tile)
      : params_(params), tile_(tile) {}

  // Of the i-th tile of keys.
  __device__ int first_key(int i) const { return (tile_.begin / Shape::kKeys + i) * Shape::kKeys; }
  __device__ int num_tiles() const {
    return (tile_.end + Shape::kKeys - 1) / Shape::kKeys - tile_.begin / Shape::kKeys;
  }

  // Whether some row does not see all of its keys.
  __device__ bool is_cut(int i) const {
    return first_key(i) + Shape::kKeys - 1 > tile_.first_seen ||
           first_key(i) < tile_.end - params_.sliding_window;
  }

  // Of the calling thread's 16 keys of tile i; some address if no row sees any of them.
  __device__ const T* find_chunk(int i) const {
    const int key = first_key(i) + static_cast<int>(threadIdx.x) * kChunkKeys;
    int block = 0;
    const int block_size = params_.cache.block_size;
    if (key < tile_.end && key + kChunkKeys > tile_.begin) {
      block = params_.block_table[tile_.seq * params_.block_table_stride + key / block_size];
    }
    return params_.cache.key(block, tile_.kv_head, key % block_size);
  }

  // Keys (offset 0) or values of tile i.
  __device__ void load(uint32_t to, const T* const* chunks, int64_t offset, int i) const {
    constexpr int kRows = Shape::kThreads / kRowThreads;  // at a time
    const int first_row = static_cast<int>(threadIdx.x) / kRowThreads;
    const int first_column = static_cast<int>(threadIdx.x) % kRowThreads * 8;
    const int begin = tile_.begin - first_key(i) - first_row;
    const int end = tile_.end - first_key(i) - first_row;
    const uint32_t to_thread = to + (first_row * Shape::kStride + first_column) * sizeof(T);
    const int from_thread = first_row % kChunkKeys * kDim + first_column;
    const int first_chunk = kRows < kChunkKeys ? 0 : first_row / kChunkKeys;
    // All addresses first: between the copies they would delay them.
    constexpr int kStep = kRows > kChunkKeys ? kRows : kChunkKeys;
    const T* from[Shape::kKeys / kStep];
#pragma unroll
    for (int c = 0; c < Shape::kKeys / kStep; ++c) {
      from[c] = chunks[first_chunk + c * kStep / kChunkKeys] + offset;
    }
#pragma unroll
    for (int row = 0; row < Shape::kKeys; row += kRows) {
#pragma unroll
      for (int column = 0; column < kDim; column += 8 * kRowThreads) {
        copy_async(to_thread + (row * Shape::kStride + column) * sizeof(T),
                   from[row / kStep] + from_thread + (row % kChunkKeys * kDim + column),
                   row >= begin && row < end);
      }
    }
  }

  __device__ void load_queries(uint32_t to) const {
#pragma unroll 4
    for (int p = 0; p < Shape::kRows * kPieces / Shape::kThreads; ++p) {
      const int piece = static_cast<int>(threadIdx.x) + p * Shape::kThreads;
      const int row = piece / kPieces;
      const int column = piece % kPieces * 8;
      const bool valid = row < tile_.num_rows;
      copy_async(to + (row * Shape::kStride + column) * sizeof(T),
                 params_.q + element(valid ? row : 0, params_.q_stride) + column, valid);
    }
  }

  // The calling warp's rows.
  __device__ void store(const T* rows, int first_row) const {
    const int lane = static_cast<int>(threadIdx.x % 32);
    for (int piece = lane; piece < Shape::kWarpRows * kPieces; piece += 32) {
      const int row = first_row + piece / kPieces;
      const int column = piece % kPieces * 8;
      if (row >= tile_.num_rows) return;
      *reinterpret_cast<uint4*>(params_.out + element(row, params_.out_stride) + column) =
          *reinterpret_cast<const uint4*>(rows + row * Shape::kStride + column);
    }
  }

 private:
  // Of the row's first dimension, in q or out.
  __device__ int64_t element(int row, int64_t stride) const {
    const int token = (tile_.first_row + row) / params_.group_size;
    const int head = (tile_.first_row + row) % params_.group_size;
    return (tile_.first_token + token) * stride +
           static_cast<int64_t>(tile_.kv_head * params_.group_size + head) * kDim;
  }

  const PrefillParams<T>& params_;
  const RowTile& tile_;
};

template <typename T, int kDim, bool kSmall>
__device__ void attend(const PrefillParams<T>& params, const RowTile& rows, unsigned char* shared) {
  using Shape = PrefillShape<kDim, kSmall>;
  using Warp = PrefillWarp<T, kDim, kSmall>;
  const T** chunks = reinterpret_cast<const T**>(shared);
  T* queries = reinterpret_cast<T*>(shared + Shape::kAddressBytes);
  const uint32_t q = shared_address(queries);
  const uint32_t k = shared_address(queries + Shape::kRows * Shape::kStride);
  const uint32_t v = shared_address(queries + (Shape::kRows + Shape::kKeys) * Shape::kStride);

  const PrefillTiles<T, kDim, kSmall> tiles(params, rows);
  const bool finds_chunks = threadIdx.x < Shape::kChunks;
  if (finds_chunks) chunks[threadIdx.x] = tiles.find_chunk(0);
  tiles.load_queries(q);
  __syncthreads();
  tiles.load(k, chunks, 0, 0);
  commit_copies();

  Warp warp(params, rows);
  for (int i = 0; i < tiles.num_tiles(); ++i) {
    wait_for_copies<0>();
    __syncthreads();  // keys are there, the last tile's values are used up
    tiles.load(v, chunks + i % 2 * Shape::kChunks, params.cache.value_offset, i);
    commit_copies();
    const T* next = finds_chunks ? tiles.find_chunk(i + 1) : nullptr;
    typename Warp::Scores scores = {};
    warp.multiply_keys(q, k, scores);
    if (finds_chunks) chunks[(i + 1) % 2 * Shape::kChunks + threadIdx.x] = next;
    wait_for_copies<0>();
    __syncthreads();  // values are there, keys are used up
    if (i + 1 < tiles.num_tiles()) {
      tiles.load(k, chunks + (i + 1) % 2 * Shape::kChunks, 0, i + 1);
      commit_copies();
    }
    if (params.scale.softcap > 0.0F) warp.cap(scores);
    if (tiles.is_cut(i)) warp.mask(tiles.first_key(i), scores);
    warp.softmax(scores);
    warp.multiply_values(scores, v);
  }
  warp.store(queries);  // over the warp's own queries
  __syncwarp();
  tiles.store(queries, Warp::first_row());
}

template <typename T, int kDim, bool kSmall>
__global__ void __launch_bounds__(PrefillShape<kDim, kSmall>::kThreads)
    prefill_kernel(const __grid_constant__ PrefillParams<T> params) {
  extern __shared__ __align__(16) unsigned char shared[];
  allow_next_kernel();
  wait_for_previous_kernel();
  if constexpr (kSmall == (kDeviceArch < 80)) {
    __shared__ RowTile rows;
    if (threadIdx.x < 32) {
      const RowTile found = find_row_tile(params, PrefillShape<kDim, kSmall>::kRows);
      if (threadIdx.x == 0) rows = found;
    }
    __syncthreads();
    if (rows.seq >= 0) attend<T, kDim, kSmall>(params, rows, shared);
  } else {
    __trap();  // the launch chose the shape of another processor
  }
}

template <typename T>
PrefillParams<T> prefill_params(const PrefillArgs& args) {
  const PagedAttentionArgs& attention = *args.attention;
  const AttentionBatch& batch = *attention.batch;
  constexpr int kBeyondAllPositions = 1 << 30;
  return {.q = attention.q.as<T>(),
          .out = attention.out.as<T>(),
          .q_stride = attention.q.row_stride,
          .out_stride = attention.out.row_stride,
          .cache = KVLayout<T>(attention.cache),
          .query_start_loc = batch.query_start_loc.as<int32_t>() + args.first_seq,
          .seq_lens = batch.seq_lens.as<int32_t>() + args.first_seq,
          .block_table = batch.block_table.row<int32_t>(args.first_seq),
          .block_table_stride = batch.block_table.row_stride,
          .scale = ScoreScale(attention.scale, attention.softcap),
          .sliding_window =
              attention.sliding_window > 0 ? attention.sliding_window : kBeyondAllPositions,
          .num_seqs = args.num_seqs,
          .num_kv_heads = attention.cache.num_kv_heads,
          .group_size = attention.num_heads / attention.cache.num_kv_heads};
}

template <typename T, int kDim, bool kSmall>
void run_prefill(Stream& stream, const PrefillArgs& args) {
  using Shape = PrefillShape<kDim, kSmall>;
  const PrefillParams<T> params = prefill_params<T>(args);
  const int64_t most_tiles =
      int64_t{args.num_tokens} * params.group_size / Shape::kRows + args.num_seqs;
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(most_tiles * params.num_kv_heads)),
                          .block = dim3(Shape::kThreads),
                          .shared_bytes = Shape::kSharedBytes};
  launch(stream, "paged_attention_prefill", prefill_kernel<T, kDim, kSmall>, shape, params);
}

template <typename T, bool kSmall>
void run_prefill_of_type(Stream& stream, const PrefillArgs& args) {
  switch (args.attention->cache.head_dim) {
    case 64:
      return run_prefill<T, 64, kSmall>(stream, args);
    case 80:
      return run_prefill<T, 80, kSmall>(stream, args);
    case 96:
      return run_prefill<T, 96, kSmall>(stream, args);
    case 128:
      return run_prefill<T, 128, kSmall>(stream, args);
    case 256:
      return run_prefill<T, 256, kSmall>(stream, args);
    default:
      CHECK(false, "head_dim ", args.attention->cache.head_dim);
  }
}

}  // namespace

void paged_attention_prefill(Stream& stream, const PrefillArgs& args) {
  const DType dtype = args.attention->cache.dtype;
  const bool small = cuda_properties().arch < 80;
  if (dtype == DType::kF16 && small) return run_prefill_of_type<Half, true>(stream, args);
  if (dtype == DType::kF16) return run_prefill_of_type<Half, false>(stream, args);
  CHECK(dtype == DType::kBF16 && !small, to_string(dtype));
  run_prefill_of_type<BFloat16, false>(stream, args);
}

}  // namespace quire
