// Low-rank additions on the CPU: work is shared out by tile of tokens, matrix, and piece of rank or
// of columns.  Each sum has an order of its own, so that a token's result is bitwise the same
// whatever shares the batch, the tile or the thread with it.
#pragma once

#include <algorithm>

#include "base/check.h"
#include "kernels/cpu/generic/elementwise.h"
#include "kernels/lora.h"

namespace quire {

template <class V>
struct Lora {
  using F = typename V::F;
  static constexpr int kLanes = V::kLanes;
  static constexpr int kRows = 4;  // rank rows summed together: independent chains of additions
  static constexpr int kVectors = 4;
  static constexpr int64_t kColumns = 512;  // of B in a piece of work

  // One matrix of a tile, with the piece of it to work on; rank 0 if there is nothing to do.
  struct Item {
    const LoraTile* tile;
    int part;
    int64_t piece;
    const LoraPart* weights;
    const LoraRow* rows;
  };

  // Shares out `pieces` pieces of each of `num_parts` matrices of each tile; skips what the
  // adapter does not have.
  template <typename Body>
  static void for_items(Stream& stream, const LoraBatch& batch, int first_target, int num_parts,
                        int64_t pieces, const Body& body) {
    const int64_t per_tile = num_parts * pieces;
    const int64_t count = *batch.num_tiles.as<int32_t>() * per_tile;
    stream.pool().parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const LoraTile& tile = batch.tiles.as<const LoraTile>()[i / per_tile];
        const auto part = static_cast<int>(i % per_tile / pieces);
        const LoraPart& weights =
            reinterpret_cast<const LoraPart*>(batch.arena + tile.parts)[first_target + part];
        if (weights.rank == 0) continue;
        body(Item{&tile, part, i % pieces, &weights,
                  reinterpret_cast<const LoraRow*>(batch.arena + weights.rows)});
      }
    });
  }

  // sums[r] = row r * x over n features; rows past `count` repeat the last.
  template <DType kType>
  static void dot_rows(const std::byte* const (&rows)[kRows], const float* x, int64_t n,
                       F (&sums)[kRows]) {
    for (F& sum : sums) sum = V::zero();
    Elementwise<V>::for_vectors(n, [&](int64_t k, int lanes) {
      const F value = V::load_n(x + k, lanes);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        sums[r] = V::fma(Elementwise<V>::load_as_float(kType, rows[r], k, lanes), value, sums[r]);
      }
    });
  }

  template <DType kType>
  static void shrink_item(const LoraAddArgs& args, const Item& item) {
    const LoraBatch& batch = *args.batch;
    const int64_t size = args.x.shape[1];
    const auto first = static_cast<int>(item.piece) * kRows;
    const int count = std::min(kRows, item.weights->rank - first);
    const int64_t range = lora_partial_features(size, args.sums.shape[0]);
    for (int64_t partial = 0; partial < args.sums.shape[0]; ++partial) {
      const int64_t begin = partial * range;
      const int64_t n = std::max<int64_t>(0, std::min(size - begin, range));
      const std::byte* rows[kRows];
      for (int r = 0; r < kRows; ++r) {
        rows[r] =
            batch.arena + item.rows[first + std::min(r, count - 1)].a + begin * size_of(kType);
      }
      float* out = args.sums.template as<float>() +
                   partial * args.sums.shape[1] * args.sums.shape[2] + item.part * batch.max_rank +
                   first;
      for (int i = item.tile->begin; i < item.tile->begin + item.tile->count; ++i) {
        F sums[kRows];
        dot_rows<kType>(rows, args.x.template row<float>(batch.tokens.as<int32_t>()[i]) + begin, n,
                        sums);
        for (int r = 0; r < count; ++r) {
          out[i * args.sums.shape[2] + r] = V::reduce_add(sums[r]);
        }
      }
    }
  }

  static void shrink(Stream& stream, const LoraAddArgs& args) {
    const int64_t pieces = (args.batch->max_rank + kRows - 1) / kRows;
    with_dtype(args.batch->dtype, [&](auto dtype) {
      const auto num_parts = static_cast<int>(args.part_out_features.size());
      for_items(stream, *args.batch, args.first_target, num_parts, pieces, [&](const Item& item) {
        if (item.piece * kRows < item.weights->rank) shrink_item<dtype.value>(args, item);
      });
    });
  }

  // factors[j] = scale * row j of A * x, of one token and matrix.
  static void add_partials(const LoraAddArgs& args, const Item& item, int64_t token,
                           float* factors) {
    const int64_t stride = args.sums.shape[1] * args.sums.shape[2];
    const float* sums = args.sums.template as<float>() + token * args.sums.shape[2] +
                        item.part * args.batch->max_rank;
    for (int j = 0; j < item.weights->rank; ++j) {
      float sum = 0.0F;
      for (int64_t p = 0; p < args.sums.shape[0]; ++p) sum += sums[p * stride + j];
      factors[j] = item.weights->scale * sum;
    }
  }

  // out[i] += sum over j of factors[j] * (column j of B)[i], for `lanes` lanes of each vector.
  template <DType kType, int kCount>
  static void add_columns(const LoraAddArgs& args, const Item& item, const float* factors,
                          int64_t column, float* out, int lanes) {
    F sums[kCount];
    for (F& sum : sums) sum = V::zero();
    for (int j = 0; j < item.weights->rank; ++j) {
      const std::byte* b = args.batch->arena + item.rows[j].b;
      const F factor = V::set1(factors[j]);
#pragma unroll
      for (int v = 0; v < kCount; ++v) {
        sums[v] = V::fma(Elementwise<V>::load_as_float(kType, b, column + v * kLanes, lanes),
                         factor, sums[v]);
      }
    }
    for (int v = 0; v < kCount; ++v) {
      float* to = out + v * kLanes;
      V::store_n(to, V::add(V::load_n(to, lanes), sums[v]), lanes);
    }
  }

  template <DType kType>
  static void expand_item(const LoraAddArgs& args, const Item& item, int64_t part_begin) {
    const int64_t begin = item.piece * kColumns;
    const int64_t size = args.part_out_features[static_cast<size_t>(item.part)];
    const int64_t end = std::min(size, begin + kColumns);
    float factors[kMaxLoraRank];
    for (int i = item.tile->begin; i < item.tile->begin + item.tile->count; ++i) {
      add_partials(args, item, i, factors);
      float* out = args.out.template row<float>(args.batch->tokens.as<int32_t>()[i]) + part_begin;
      int64_t column = begin;
      for (; column + kVectors * kLanes <= end; column += kVectors * kLanes) {
        add_columns<kType, kVectors>(args, item, factors, column, out + column, kLanes);
      }
      for (; column < end; column += kLanes) {
        const auto lanes = static_cast<int>(std::min<int64_t>(kLanes, end - column));
        add_columns<kType, 1>(args, item, factors, column, out + column, lanes);
      }
    }
  }

  static void expand(Stream& stream, const LoraAddArgs& args) {
    const auto num_parts = static_cast<int>(args.part_out_features.size());
    CHECK(num_parts <= kMaxLoraParts && args.batch->max_rank <= kMaxLoraRank);
    int64_t part_begins[kMaxLoraParts] = {};
    int64_t widest = 0;
    for (int p = 0; p < num_parts; ++p) {
      const int64_t size = args.part_out_features[static_cast<size_t>(p)];
      if (p + 1 < num_parts) part_begins[p + 1] = part_begins[p] + size;
      widest = std::max(widest, size);
    }
    const int64_t pieces = (widest + kColumns - 1) / kColumns;
    with_dtype(args.batch->dtype, [&](auto dtype) {
      for_items(stream, *args.batch, args.first_target, num_parts, pieces, [&](const Item& item) {
        if (item.piece * kColumns < args.part_out_features[static_cast<size_t>(item.part)]) {
          expand_item<dtype.value>(args, item, part_begins[item.part]);
        }
      });
    });
  }

  static void add(Stream& stream, const LoraAddArgs& args) {
    shrink(stream, args);
    expand(stream, args);
  }

  template <DType kType>
  struct TypeTag {
    static constexpr DType value = kType;
  };
  template <typename Body>
  static void with_dtype(DType dtype, const Body& body) {
    if (dtype == DType::kBF16) return body(TypeTag<DType::kBF16>{});
    if (dtype == DType::kF16) return body(TypeTag<DType::kF16>{});
    CHECK(dtype == DType::kF32, "adapters of type ", to_string(dtype));
    body(TypeTag<DType::kF32>{});
  }
};

}  // namespace quire
