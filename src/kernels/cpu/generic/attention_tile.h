// One thread's part of attention: the rows of a query block against a tile of keys.
#pragma once

#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "kernels/cpu/attention_plan.h"
#include "kernels/cpu/generic/dot.h"
#include "kernels/cpu/generic/math.h"

namespace quire {

// Thread: one; scratch memory is given by the caller.
template <class V, DType kType>
class AttentionTile {
 private:
  static constexpr int kNumArrays = 10;
  static constexpr int64_t kAlign = 16;  // floats: one cache line

 public:
  using F = typename V::F;
  using D = Dot<V, kType>;
  using A = typename D::A;

  // Upper bound of what the constructor takes.
  static int64_t scratch_bytes(const PagedAttentionArgs& args, int64_t max_rows) {
    const int64_t dim = args.cache.head_dim;
    const int64_t floats = max_rows * (dim + kTileKeys + kTileKeys + 2 * (dim + 2)) + dim;
    return (floats + kNumArrays * kAlign) * static_cast<int64_t>(sizeof(float));
  }

  AttentionTile(const PagedAttentionArgs& args, int64_t max_rows, std::byte* scratch)
      : args_(args), dim_(args.cache.head_dim), group_(args.num_heads / args.cache.num_kv_heads) {
    auto* next = reinterpret_cast<float*>(scratch);
    const auto take = [&](int64_t count) {
      float* taken = next;
      next += (count + kAlign - 1) / kAlign * kAlign;
      return taken;
    };
    queries_ = reinterpret_cast<A*>(take(max_rows * dim_));
    scores_ = take(max_rows * kTileKeys);
    weights_ = reinterpret_cast<A*>(take(max_rows * kTileKeys));
    for (AttentionPartial* part : {&own_, &total_}) {
      part->max = take(max_rows);
      part->sum = take(max_rows);
      part->output = take(max_rows * dim_);
    }
    last_pair_ = reinterpret_cast<uint32_t*>(take(dim_));
  }

  const AttentionPartial& own_partial() const { return own_; }

  // Converts the queries of `block` to the A side of q·k.
  void load_queries(const QueryBlock& block) {
    const int64_t rows = block.num_tokens * group_;
    for_row_tiles(rows, [&](int64_t first, int64_t count) {
      for (int64_t r = 0; r < count; ++r) {
        D::convert_row(query(block, first + r), dim_, queries_ + first * query_size(dim_) + r,
                       count * D::kSub, count);
      }
    });
  }

  // result = the contribution of tile `tile` to the rows of `block`, whose queries are loaded.
  void compute(const QueryBlock& block, int64_t tile, const AttentionPartial& result) {
    find_keys(block, tile);
    const int64_t rows = block.num_tokens * group_;
    for_row_tiles(rows, [&](int64_t first, int64_t count) { score(first, count); });
    for (int64_t r = 0; r < rows; ++r) softmax(block, tile, r, result);
    for_row_tiles(rows, [&](int64_t first, int64_t count) {
      weigh(first, count, result.output + first * dim_);
    });
  }

  // Begins the sum over tiles.
  void start(const QueryBlock& block) { std::fill_n(total_.sum, block.num_tokens * group_, 0.0F); }

  // Adds the contribution of one more tile; tiles come in ascending order.
  void merge(const QueryBlock& block, const AttentionPartial& part) {
    for (int64_t r = 0; r < block.num_tokens * group_; ++r) {
      if (part.sum[r] == 0.0F) continue;
      float* total = total_.output + r * dim_;
      const float* output = part.output + r * dim_;
      if (total_.sum[r] == 0.0F) {
        std::memcpy(total, output, static_cast<size_t>(dim_) * sizeof(float));
        total_.max[r] = part.max[r];
        total_.sum[r] = part.sum[r];
        continue;
      }
      const float max = std::max(total_.max[r], part.max[r]);
      const F shifts = Math<V>::exp(V::sub(V::set1(total_.max[r]), V::set1(max)));
      const F part_shifts = Math<V>::exp(V::sub(V::set1(part.max[r]), V::set1(max)));
      const float keep = first_lane(shifts);
      const float gain = first_lane(part_shifts);
      total_.max[r] = max;
      total_.sum[r] = total_.sum[r] * keep + part.sum[r] * gain;
      for (int64_t i = 0; i < dim_; i += V::kLanes) {
        const int64_t n = dim_ - i;
        const F scaled = V::mul(V::load_n(total + i, n), shifts);
        V::store_n(total + i, V::fma(V::load_n(output + i, n), part_shifts, scaled), n);
      }
    }
  }

  // Writes the rows of `out`.
  void finish(const QueryBlock& block) {
    for (int64_t r = 0; r < block.num_tokens * group_; ++r) {
      float* out = args_.out.row<float>(block.first_token + r / group_) +
                   (block.kv_head * group_ + r % group_) * dim_;
      const F inverse = V::set1(1.0F / total_.sum[r]);
      for (int64_t i = 0; i < dim_; i += V::kLanes) {
        V::store_n(out + i, V::mul(V::load_n(total_.output + r * dim_ + i, dim_ - i), inverse),
                   dim_ - i);
      }
    }
  }

 protected:
  static constexpr int64_t kNumGroups = kTileKeys / kKeyGroup;
  static constexpr int kScoreColumns = 2 * V::kLanes;  // keys of one register tile of q·k
  static constexpr int64_t kGroupSteps = kKeyGroup / D::kPack;
  static constexpr int64_t kWeightStride = kTileKeys / D::kPack * D::kSub;
  static constexpr int64_t kFewRows = 8;  // up to which attention waits for memory
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  const float* query(const QueryBlock& block, int64_t r) const {
    return args_.q.row<float>(block.first_token + r / group_) +
           (block.kv_head * group_ + r % group_) * dim_;
  }

  // A values of one query.
  static int64_t query_size(int64_t dim) { return dim / D::kPack * D::kSub; }

  static float first_lane(F x) {
    float lanes[V::kLanes];
    V::store(lanes, x);
    return lanes[0];
  }

  template <typename Body>
  static void for_row_tiles(int64_t rows, const Body& body) {
    const int64_t tiles = (rows + V::kMaxRows - 1) / V::kMaxRows;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t first = rows * i / tiles;
      body(first, rows * (i + 1) / tiles - first);
    }
  }

  // Finds the keys of the tile that some row of the block sees, and where they lie.
  void find_keys(const QueryBlock& block, int64_t tile) {
    const KVCacheView& cache = args_.cache;
    const int64_t origin = tile * kTileKeys;
    const int64_t first_key =
        args_.sliding_window > 0
            ? std::max<int64_t>(0, block.first_position - args_.sliding_window + 1)
            : 0;
    begin_group_ = std::max<int64_t>(0, first_key - origin) / kKeyGroup;
    end_key_ = std::min(kTileKeys, block.first_position + block.num_tokens - origin);
    end_group_ = (end_key_ + kKeyGroup - 1) / kKeyGroup;
    const int64_t head_bytes = int64_t{cache.block_size} * dim_ * size_of(kType);
    for (int64_t g = begin_group_; g < end_group_; ++g) {
      const int64_t key = origin + g * kKeyGroup;
      const std::byte* head = cache.arena +
                              block.block_table[key / cache.block_size] * cache.block_bytes +
                              cache.layer_offset + block.kv_head * head_bytes +
                              key % cache.block_size * dim_ * size_of(kType);
      keys_[g] = head;
      values_[g] = head + cache.num_kv_heads * head_bytes;
    }
    if (D::kPack == 2 && end_key_ % 2 != 0) copy_last_pair();
  }

  // The slot after the last key may hold anything, even a NaN, and shares a word with it.
  void copy_last_pair() {
    const int64_t step = end_key_ % kKeyGroup / 2;
    const std::byte* row = values_[end_group_ - 1] + step * dim_ * D::kColumnBytes;
    std::memcpy(last_pair_, row, static_cast<size_t>(dim_) * sizeof(uint32_t));
    for (int64_t i = 0; i < dim_; ++i) last_pair_[i] &= 0xffffU;
  }

  // Fetches V of two groups and K of the next two: with few rows the cache is read at the speed of
  // memory, and the hardware does not see the next block coming.
  void prefetch_groups(int64_t group) const {
    const int64_t group_bytes = kKeyGroup * dim_ * size_of(kType);
    for (int64_t g = std::max(group, begin_group_); g < std::min(group + 2, end_group_); ++g) {
      const std::byte* next_keys = keys_[std::min(g + 2, end_group_ - 1)];
      for (int64_t i = 0; i < group_bytes; i += 64) {
        __builtin_prefetch(values_[g] + i, 0, 2);
        __builtin_prefetch(next_keys + i, 0, 2);
      }
    }
  }

  // scores_[row][key] = q·k for kRows rows from `first` on.
  template <int kRows>
  void score_rows(int64_t first) {
    constexpr int64_t kStepBytes = kKeyGroup * D::kColumnBytes;
    const int64_t steps = dim_ / D::kPack;
    for (int64_t key = begin_group_ * kKeyGroup / kScoreColumns * kScoreColumns; key < end_key_;
         key += kScoreColumns) {
      const std::byte* columns[2] = {key_vector(key), key_vector(key + V::kLanes)};
      if (kRows <= kFewRows && key % (2 * kKeyGroup) == 0) prefetch_groups(key / kKeyGroup);
      typename D::template Tile<kRows, 2> tile;
      tile.clear();
      const A* q = queries_ + first * query_size(dim_);
      for (int64_t i = 0; i < steps; ++i) {
        tile.template step<1, kRows>(q, {columns[0], columns[1]});
        q += D::kSub * kRows;
        columns[0] += kStepBytes;
        columns[1] += kStepBytes;
      }
      tile.store(scores_ + first * kTileKeys + key, kTileKeys);
    }
  }

  // Keys [key, key + kLanes); scores of keys out of range are masked later, so any address will do.
  const std::byte* key_vector(int64_t key) const {
    const int64_t group = std::clamp(key / kKeyGroup, begin_group_, end_group_ - 1);
    return keys_[group] + key % kKeyGroup * D::kColumnBytes;
  }

  // Scales, soft-caps, masks and exponentiates the scores of row r into weights_.
  void softmax(const QueryBlock& block, int64_t tile, int64_t r, const AttentionPartial& result) {
    const int64_t origin = tile * kTileKeys;
    const int64_t position = block.first_position + r / group_;
    const int64_t end = std::min(end_key_, position + 1 - origin);
    const int64_t begin = args_.sliding_window > 0
                              ? std::max<int64_t>(0, position - args_.sliding_window + 1 - origin)
                              : 0;
    float* scores = scores_ + r * kTileKeys;
    A* weights = weights_ + r * kWeightStride;
    const int64_t first = begin_group_ * kKeyGroup;
    const int64_t last = end_group_ * kKeyGroup;
    if (begin >= end) {
      result.max[r] = -kInfinity;
      result.sum[r] = 0.0F;
      std::memset(weights + first / D::kPack * D::kSub, 0,
                  static_cast<size_t>((last - first) / D::kPack * D::kSub) * sizeof(A));
      return;
    }
    F max = V::set1(-kInfinity);
    for (int64_t i = first; i < last; i += V::kLanes) {
      F score = scaled(V::load(scores + i));
      if (i < begin || i + V::kLanes > end) {
        score = V::select(V::mask_between(begin - i, end - i), score, V::set1(-kInfinity));
      }
      V::store(scores + i, score);
      max = V::max(max, score);
    }
    result.max[r] = V::reduce_max(max);
    max = V::set1(result.max[r]);
    F sum = V::zero();
    for (int64_t i = first; i < last; i += V::kLanes) {
      const F weight = Math<V>::exp_below_max(V::sub(V::load(scores + i), max));
      sum = V::add(sum, weight);
      if constexpr (D::kPairDot) {
        V::store_bf16(reinterpret_cast<uint16_t*>(weights) + i, weight);
      } else {
        V::store(weights + i, weight);
      }
    }
    result.sum[r] = V::reduce_add(sum);
  }

  F scaled(F score) const {
    const F x = V::mul(score, V::set1(args_.scale));
    if (args_.softcap == 0.0F) return x;
    const F cap = V::set1(args_.softcap);
    return V::mul(cap, Math<V>::tanh(V::div(x, cap)));
  }

  // output[row][column...] = weights · V for kVectors vectors of columns.
  template <int kRows, int kVectors>
  void weigh_columns(int64_t first, int64_t column, float* output) {
    typename D::template Tile<kRows, kVectors> tile;
    tile.clear();
    const int64_t row_bytes = dim_ * D::kColumnBytes;
    const int64_t whole_steps = end_key_ / D::kPack;
    const A* weights = weights_ + first * kWeightStride + begin_group_ * kGroupSteps * D::kSub;
    const auto step = [&](const std::byte* b) {
      const std::byte* columns[kVectors];
#pragma unroll
      for (int v = 0; v < kVectors; ++v) columns[v] = b + v * D::kVectorBytes;
      tile.template step<kWeightStride, 1>(weights, columns);
      weights += D::kSub;
    };
    for (int64_t g = begin_group_; g < end_group_; ++g) {
      const std::byte* b = values_[g] + column * D::kColumnBytes;
      const int64_t steps = std::min(kGroupSteps, whole_steps - g * kGroupSteps);
      for (int64_t i = 0; i < steps; ++i, b += row_bytes) step(b);
    }
    if (D::kPack == 2 && end_key_ % 2 != 0) {
      step(reinterpret_cast<const std::byte*>(last_pair_ + column));
    }
    tile.store(output + column, dim_);
  }

  // Columns that do not fill a vector are computed again with their neighbours.
  template <int kRows>
  void weigh_rows(int64_t first, float* output) {
    constexpr int kWide = kRows * 2 <= V::kMaxRows ? 4 : 2;
    int64_t column = 0;
    for (; column + kWide * V::kLanes <= dim_; column += kWide * V::kLanes) {
      weigh_columns<kRows, kWide>(first, column, output);
    }
    for (; column < dim_; column += V::kLanes) {
      weigh_columns<kRows, 1>(first, std::min(column, dim_ - V::kLanes), output);
    }
  }

  using ScoreFn = void (AttentionTile::*)(int64_t);
  using WeighFn = void (AttentionTile::*)(int64_t, float*);
  template <size_t... kIndices>
  static constexpr std::array<ScoreFn, sizeof...(kIndices)> score_functions(
      std::index_sequence<kIndices...>) {
    return {&AttentionTile::score_rows<static_cast<int>(kIndices) + 1>...};
  }
  template <size_t... kIndices>
  static constexpr std::array<WeighFn, sizeof...(kIndices)> weigh_functions(
      std::index_sequence<kIndices...>) {
    return {&AttentionTile::weigh_rows<static_cast<int>(kIndices) + 1>...};
  }
  void score(int64_t first, int64_t rows) {
    static constexpr auto kFunctions = score_functions(std::make_index_sequence<V::kMaxRows>());
    (this->*kFunctions[rows - 1])(first);
  }
  void weigh(int64_t first, int64_t rows, float* output) {
    static constexpr auto kFunctions = weigh_functions(std::make_index_sequence<V::kMaxRows>());
    (this->*kFunctions[rows - 1])(first, output);
  }

  const PagedAttentionArgs& args_;
  const int64_t dim_;
  const int64_t group_;
  A* queries_ = nullptr;     // [row tiles][dim / kPack][kSub][rows of the tile]
  float* scores_ = nullptr;  // [rows][kTileKeys]
  A* weights_ = nullptr;     // [rows][kTileKeys / kPack][kSub]
  uint32_t* last_pair_ = nullptr;
  AttentionPartial own_;
  AttentionPartial total_;
  // Of the current tile: groups of keys [begin_group_, end_group_), keys below end_key_.
  int64_t begin_group_ = 0;
  int64_t end_group_ = 0;
  int64_t end_key_ = 0;
  const std::byte* keys_[kNumGroups] = {};
  const std::byte* values_[kNumGroups] = {};
};

}  // namespace quire
