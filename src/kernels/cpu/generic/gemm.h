// GEMM over weights packed in panels of 2 vectors of columns.
//
// Packed weight: [ceil(N / kPanel)][steps][kPanel][kPack], zero beyond N and K; a step is kPack
// elements of K (2 for bf16, else 1) and `steps` covers K rounded up to kPaddedK.  A panel is read
// front to back whatever M is: at M = 1 this streams the weight, at large M a block of a panel
// stays in L2 while all row tiles use it.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "kernels/cpu/generic/dot.h"
#include "kernels/cpu/rows.h"
#include "kernels/gemm.h"

namespace quire {

inline constexpr int64_t kPaddedK = 32;  // of a bf16 weight

template <class V>
struct WeightPacker {
  static constexpr int64_t kPanel = 2 * V::kLanes;

  // Elements are moved as whole words of kBytes; the value does not matter.
  template <typename Word, int kPack>
  static void pack_panel(const TensorView& weight, int64_t first_column, Word* to) {
    const int64_t columns = std::min(kPanel, weight.shape[0] - first_column);
    const int64_t depth = weight.shape[1];
    constexpr int64_t kBlock = 64;  // of K, so that the written lines stay in L1
    for (int64_t begin = 0; begin < depth; begin += kBlock) {
      const int64_t end = std::min(depth, begin + kBlock);
      for (int64_t n = 0; n < columns; ++n) {
        const Word* row = weight.as<const Word>() + (first_column + n) * weight.row_stride;
        for (int64_t k = begin; k < end; ++k) {
          to[(k / kPack * kPanel + n) * kPack + k % kPack] = row[k];
        }
      }
    }
  }

  static PackedWeight pack(Stream& stream, const PackWeightArgs& args) {
    const TensorView& weight = args.weight;
    CHECK(weight.shape.rank == 2, "weight of rank ", weight.shape.rank);
    const int64_t panels = (weight.shape[0] + kPanel - 1) / kPanel;
    const int64_t depth =
        weight.dtype == DType::kBF16 ? round_up(weight.shape[1], kPaddedK) : weight.shape[1];
    const int64_t panel_bytes = depth * kPanel * size_of(weight.dtype);
    PackedWeight packed{.data = Buffer(panels * panel_bytes),
                        .out_features = weight.shape[0],
                        .in_features = weight.shape[1],
                        .dtype = weight.dtype,
                        .layout = kPanel};
    stream.pool().parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        std::byte* to = packed.data.data() + panel * panel_bytes;
        if (weight.dtype == DType::kF32) {
          pack_panel<uint32_t, 1>(weight, panel * kPanel, reinterpret_cast<uint32_t*>(to));
        } else if (weight.dtype == DType::kF16) {
          pack_panel<uint16_t, 1>(weight, panel * kPanel, reinterpret_cast<uint16_t*>(to));
        } else {
          pack_panel<uint16_t, 2>(weight, panel * kPanel, reinterpret_cast<uint16_t*>(to));
        }
      }
    });
    return packed;
  }
};

// Writes a finished tile: out = sums (+ bias) (+ out).  sums: [rows][2 * V::kLanes].
template <class V>
void write_gemm_tile(const GemmArgs& args, const float* sums, int64_t first_row, int64_t num_rows,
                     int64_t first_column) {
  constexpr int64_t kPanel = 2 * V::kLanes;
  const int64_t columns = std::min(kPanel, args.weight->out_features - first_column);
  const float* bias = args.bias.empty() ? nullptr : args.bias.as<float>() + first_column;
  for (int64_t r = 0; r < num_rows; ++r) {
    float* out = args.out.row<float>(first_row + r) + first_column;
    for (int64_t i = 0; i < columns; i += V::kLanes) {
      const int64_t n = std::min<int64_t>(V::kLanes, columns - i);
      typename V::F value = V::load(sums + r * kPanel + i);
      if (bias != nullptr) value = V::add(value, V::load_n(bias + i, n));
      if (args.accumulate) value = V::add(value, V::load_n(out + i, n));
      V::store_n(out + i, value, n);
    }
  }
}

template <class V, DType kType>
struct Gemm {
  using D = Dot<V, kType>;
  using A = typename D::A;
  static constexpr int64_t kPanel = 2 * V::kLanes;
  static constexpr int64_t kMaxRows = V::kMaxRows;
  static constexpr int64_t kBlockTiles = 40;  // row tiles that share a pass over the weight
  static constexpr int64_t kStepBytes = 2 * D::kVectorBytes;
  static constexpr int64_t kBlockSteps = (int64_t{128} << 10) / kStepBytes;  // of a panel, for L2

  // sums[kRows][kPanel] (+)= A[steps][kSub][kRows] * B[steps][kPanel]
  template <int kRows>
  static void compute_tile(const A* a, const std::byte* b, int64_t steps, float* sums, bool first) {
    constexpr int64_t kPrefetchBytes = kRows <= 4 ? 2048 : 512;
    typename D::template Tile<kRows, 2> tile;
    if (first) {
      tile.clear();
    } else {
      tile.load(sums, kPanel);
    }
    for (int64_t i = 0; i < steps; ++i) {
      __builtin_prefetch(b + kPrefetchBytes);
      if constexpr (kStepBytes > 64) __builtin_prefetch(b + kPrefetchBytes + 64);
      tile.template step<1, kRows>(a, {b, b + D::kVectorBytes});
      a += D::kSub * kRows;
      b += kStepBytes;
    }
    tile.store(sums, kPanel);
  }

  using TileFn = void (*)(const A*, const std::byte*, int64_t, float*, bool);
  template <size_t... kIndices>
  static constexpr std::array<TileFn, sizeof...(kIndices)> tile_functions(
      std::index_sequence<kIndices...>) {
    return {compute_tile<static_cast<int>(kIndices) + 1>...};
  }

  // Rows are cut into tiles of almost equal height, at most kMaxRows.
  struct Tiling {
    int64_t num_rows;
    int64_t num_tiles;
    explicit Tiling(int64_t rows) : num_rows(rows), num_tiles((rows + kMaxRows - 1) / kMaxRows) {}
    int64_t first_row(int64_t tile) const { return num_rows * tile / num_tiles; }
  };

  static void convert_tiles(const GemmArgs& args, const Tiling& tiling, int64_t begin, int64_t end,
                            A* to) {
    const int64_t depth = args.weight->in_features;
    const int64_t steps = (depth + D::kPack - 1) / D::kPack;
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tiling.first_row(tile);
      const int64_t rows = tiling.first_row(tile + 1) - first;
      A* tile_to = to + first * steps * D::kSub;
      for (int64_t r = 0; r < rows; ++r) {
        D::convert_row(args.x.row<float>(first + r), depth, tile_to + r, rows * D::kSub, rows);
      }
    }
  }

  static void run(Stream& stream, const GemmArgs& args) {
    const PackedWeight& weight = *args.weight;
    const int64_t depth = weight.in_features;
    const int64_t steps = (depth + D::kPack - 1) / D::kPack;
    const Tiling tiling(args.x.rows());
    if (tiling.num_rows == 0) return;
    const Workspace::Scope scope(stream.workspace());
    Workspace& workspace = stream.workspace();
    A* a = static_cast<A*>(
        workspace.take(tiling.num_rows * steps * D::kSub * static_cast<int64_t>(sizeof(A))));
    const int64_t block_tiles = std::min(kBlockTiles, tiling.num_tiles);
    const int64_t sums_size = block_tiles * kMaxRows * kPanel;
    auto* sums = static_cast<float*>(workspace.take(stream.pool().num_threads() * sums_size *
                                                    static_cast<int64_t>(sizeof(float))));

    for_rows(stream, tiling.num_tiles, tiling.num_rows * depth / tiling.num_tiles,
             [&](int64_t begin, int64_t end) { convert_tiles(args, tiling, begin, end, a); });
    const int64_t panels = (weight.out_features + kPanel - 1) / kPanel;
    const int64_t threads = stream.pool().num_threads();
    stream.pool().run([&](int thread) {
      const int64_t begin = panels * thread / threads;
      const int64_t end = panels * (thread + 1) / threads;
      for (int64_t tile = 0; tile < tiling.num_tiles; tile += block_tiles) {
        const int64_t last = std::min(tiling.num_tiles, tile + block_tiles);
        for (int64_t panel = begin; panel < end; ++panel) {
          compute_panel(args, tiling, {tile, last, panel}, a, sums + thread * sums_size);
        }
      }
    });
  }

  struct PanelWork {
    int64_t begin_tile, end_tile, panel;
  };
  static void compute_panel(const GemmArgs& args, const Tiling& tiling, PanelWork work, const A* a,
                            float* sums) {
    static constexpr auto kTileFunctions =
        tile_functions(std::make_index_sequence<static_cast<size_t>(kMaxRows)>());
    const int64_t depth = args.weight->in_features;
    const int64_t steps = (depth + D::kPack - 1) / D::kPack;
    const int64_t padded = kType == DType::kBF16 ? round_up(depth, kPaddedK) / D::kPack : steps;
    const std::byte* b = args.weight->data.data() + work.panel * padded * kStepBytes;
    const int64_t origin = tiling.first_row(work.begin_tile);
    const int64_t block = work.end_tile - work.begin_tile == 1 ? steps : kBlockSteps;
    for (int64_t step = 0; step < steps; step += block) {
      const int64_t count = std::min(block, steps - step);
      for (int64_t tile = work.begin_tile; tile < work.end_tile; ++tile) {
        const int64_t first = tiling.first_row(tile);
        const int64_t rows = tiling.first_row(tile + 1) - first;
        float* tile_sums = sums + (first - origin) * kPanel;
        kTileFunctions[rows - 1](a + (first * steps + step * rows) * D::kSub, b + step * kStepBytes,
                                 count, tile_sums, step == 0);
        if (step + count == steps) {
          write_gemm_tile<V>(args, tile_sums, first, rows, work.panel * kPanel);
        }
      }
    }
  }
};

// Checks the arguments against a weight packed as `layout`.
template <class V>
void check_gemm(const GemmArgs& args, int layout) {
  const PackedWeight& weight = *args.weight;
  CHECK(weight.layout == layout, "weight was packed by another table");
  CHECK(args.x.shape[1] == weight.in_features, "K is ", args.x.shape[1], ", not ",
        weight.in_features);
  CHECK(args.out.shape[1] == weight.out_features && args.out.rows() == args.x.rows(), "out is ",
        args.out.rows(), " x ", args.out.shape[1]);
}

// Checks the arguments and runs the GEMM of the weight's type.
template <class V>
void gemm(Stream& stream, const GemmArgs& args) {
  check_gemm<V>(args, 2 * V::kLanes);
  switch (args.weight->dtype) {
    case DType::kF32:
      return Gemm<V, DType::kF32>::run(stream, args);
    case DType::kF16:
      return Gemm<V, DType::kF16>::run(stream, args);
    case DType::kBF16:
      return Gemm<V, DType::kBF16>::run(stream, args);
    case DType::kI32:
      break;
  }
  CHECK(false, "weight of type ", to_string(args.weight->dtype));
}

}  // namespace quire
