// GEMM of bf16 weights on AMX tiles.
//
// Packed weight: [ceil(N / 32)][ceil(K / 32)][2 halves of the 32 columns][16 pairs of K][16][2]
// bf16, zero beyond N and K: a panel of 32 columns is a row of B tiles, read front to back.
//
// A side: [depth blocks][row tiles][tiles of the depth block][16 rows][32] bf16, rows beyond M and
// K zero: what one block of the loops reads is contiguous, for it would share cache sets if K is a
// power of two. An output element is the sum of TDPBF16PS over K in ascending order, whatever tile
// its row falls in.
#pragma once

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/generic/gemm.h"
#include "kernels/cpu/vec_avx512.h"

#pragma clang attribute push(                                                                          \
    __attribute__((target(                                                                             \
        "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,amx-tile,amx-bf16"))), \
    apply_to = function)

namespace quire {

struct AmxGemm {
  static constexpr int64_t kTileRows = 16;
  static constexpr int64_t kTileDepth = 32;
  static constexpr int64_t kTileBytes = 1024;
  static constexpr int64_t kPanel = 32;
  static constexpr int64_t kPanelTileBytes = 2 * kTileBytes;  // 32 of K for all columns of a panel
  static constexpr int64_t kBlockRowTiles = 32;  // row tiles that share a pass over the weight
  // More panels share a pass over A, which comes from L3; their sums take half of a 2 MiB L2.
  static constexpr int64_t kBlockPanels = 16;
  // Of a panel: 16 KiB, which stay in L1 while as much of A passes through it.
  static constexpr int64_t kBlockDepthTiles = 8;
  static constexpr int kLayout = 2 * kPanel;  // PackedWeight::layout

  // Share of a prefetched depth block of A that goes with one step of a full block.
  static constexpr int64_t kNextABytes = 2 * kTileBytes / kBlockPanels;

  static void prefetch(const std::byte* from, int64_t num_bytes) {
    for (int64_t i = 0; i < num_bytes; i += 64) __builtin_prefetch(from + i, 0, 2);
  }

  // to: zeroed [depth tiles][2][16][16][2]
  static void pack_panel(const TensorView& weight, int64_t first_column, uint16_t* to) {
    constexpr int64_t kHalf = 16;
    constexpr int64_t kTileElements = kTileDepth * kHalf;
    const int64_t columns = std::min(kPanel, weight.shape[0] - first_column);
    const int64_t depth = weight.shape[1];
    for (int64_t begin = 0; begin < depth; begin += kTileDepth, to += 2 * kTileElements) {
      const int64_t count = std::min(kTileDepth, depth - begin);
      for (int64_t n = 0; n < columns; ++n) {
        const uint16_t* row =
            weight.as<const uint16_t>() + (first_column + n) * weight.row_stride + begin;
        uint16_t* column = to + n / kHalf * kTileElements + n % kHalf * 2;
        for (int64_t k = 0; k < count; ++k) column[k / 2 * 2 * kHalf + k % 2] = row[k];
      }
    }
  }

  static PackedWeight pack(Stream& stream, const PackWeightArgs& args) {
    const TensorView& weight = args.weight;
    if (weight.dtype != DType::kBF16) return WeightPacker<Avx512>::pack(stream, args);
    CHECK(weight.shape.rank == 2, "weight of rank ", weight.shape.rank);
    const int64_t panels = (weight.shape[0] + kPanel - 1) / kPanel;
    const int64_t panel_bytes = (weight.shape[1] + kTileDepth - 1) / kTileDepth * kPanelTileBytes;
    PackedWeight packed{.data = Buffer(panels * panel_bytes),
                        .out_features = weight.shape[0],
                        .in_features = weight.shape[1],
                        .dtype = weight.dtype,
                        .layout = kLayout};
    stream.pool().parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
      for (int64_t panel = begin; panel < end; ++panel) {
        pack_panel(weight, panel * kPanel,
                   reinterpret_cast<uint16_t*>(packed.data.data() + panel * panel_bytes));
      }
    });
    return packed;
  }

  struct Operands {
    const std::byte* a = nullptr;  // `count` tiles
    int64_t a_stride = 0;          // bytes between the two row tiles
    const std::byte* b = nullptr;  // `count` pairs of tiles
    int64_t count = 0;
    // What is to be in L2 next; kNextABytes and next_b_bytes of it are fetched with each step.
    const std::byte* next_a = nullptr;
    const std::byte* next_b = nullptr;
    int64_t next_b_bytes = 0;
  };

  // sums[kRowTiles * 16][32] (+)= A * B
  template <int kRowTiles, bool kStreamB>
  static void compute_tile(Operands x, float* sums, bool first) {
    constexpr int64_t kStride = kPanel * static_cast<int64_t>(sizeof(float));
    float* lower = sums + kTileRows * kPanel;
    if (first) {
      _tile_zero(0);
      _tile_zero(1);
      if constexpr (kRowTiles == 2) {
        _tile_zero(2);
        _tile_zero(3);
      }
    } else {
      _tile_loadd(0, sums, kStride);
      _tile_loadd(1, sums + 16, kStride);
      if constexpr (kRowTiles == 2) {
        _tile_loadd(2, lower, kStride);
        _tile_loadd(3, lower + 16, kStride);
      }
    }
    for (int64_t i = 0; i < x.count; ++i, x.a += kTileBytes, x.b += kPanelTileBytes) {
      if constexpr (kStreamB) {
        prefetch(x.b + 2 * kPanelTileBytes, kPanelTileBytes);
      } else {
        prefetch(x.next_a + i * kNextABytes, kNextABytes);
        prefetch(x.next_b + i * x.next_b_bytes, x.next_b_bytes);
      }
      _tile_loadd(4, x.a, 64);
      _tile_loadd(6, x.b, 64);
      _tile_loadd(7, x.b + kTileBytes, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kRowTiles == 2) {
        _tile_loadd(5, x.a + x.a_stride, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    _tile_stored(0, sums, kStride);
    _tile_stored(1, sums + 16, kStride);
    if constexpr (kRowTiles == 2) {
      _tile_stored(2, lower, kStride);
      _tile_stored(3, lower + 16, kStride);
    }
  }

  // How the rows and K of one call are cut into tiles and blocks.
  struct Tiling {
    int64_t rows, depth;
    int64_t row_tiles = (rows + kTileRows - 1) / kTileRows;
    int64_t depth_tiles = (depth + kTileDepth - 1) / kTileDepth;
    // Up to two row tiles walk a panel in one pass.
    int64_t block_depth = row_tiles <= 2 ? depth_tiles : kBlockDepthTiles;

    // Tiles in the depth block that holds depth tile k.
    int64_t tiles_of_block(int64_t k) const {
      return std::min(block_depth, depth_tiles - k / block_depth * block_depth);
    }
    // Byte offset of an A tile.
    int64_t a_offset(int64_t row_tile, int64_t k) const {
      const int64_t tile = k / block_depth * block_depth * row_tiles +
                           row_tile * tiles_of_block(k) + k % block_depth;
      return tile * kTileBytes;
    }
  };

  // Rows [begin, end) of x to the A side.
  static void convert_rows(const GemmArgs& args, const Tiling& tiling, int64_t begin, int64_t end,
                           std::byte* to) {
    for (int64_t row = begin; row < end; ++row) {
      const float* x = args.x.row<float>(row);
      for (int64_t tile = 0; tile < tiling.depth_tiles; ++tile) {
        auto* pairs = reinterpret_cast<uint16_t*>(to + tiling.a_offset(row / kTileRows, tile) +
                                                  row % kTileRows * 64);
        const int64_t k = tile * kTileDepth;
        const int64_t n = tiling.depth - k;
        Avx512::store_bf16(pairs, Avx512::load_n(x + k, n));
        Avx512::store_bf16(pairs + 16,
                           n > 16 ? Avx512::load_n(x + k + 16, n - 16) : Avx512::zero());
      }
    }
  }

  static void run(Stream& stream, const GemmArgs& args) {
    const Tiling tiling{.rows = args.x.rows(), .depth = args.weight->in_features};
    if (tiling.rows == 0) return;
    const Workspace::Scope scope(stream.workspace());
    auto* a = static_cast<std::byte*>(
        stream.workspace().take(tiling.row_tiles * tiling.depth_tiles * kTileBytes));
    const int64_t block_tiles = std::min(kBlockRowTiles, tiling.row_tiles);
    const int64_t sums_size = kBlockPanels * block_tiles * kTileRows * kPanel;
    const int64_t threads = stream.pool().num_threads();
    auto* sums = static_cast<float*>(
        stream.workspace().take(threads * sums_size * static_cast<int64_t>(sizeof(float))));
    for_rows(stream, tiling.rows, tiling.depth,
             [&](int64_t begin, int64_t end) { convert_rows(args, tiling, begin, end, a); });
    const int64_t panels = (args.weight->out_features + kPanel - 1) / kPanel;
    stream.pool().run([&](int thread) {
      const AmxTiles tiles(
          {.a_rows = static_cast<int>(std::min(tiling.rows, kTileRows)), .depth = kTileDepth});
      const int64_t end_panel = panels * (thread + 1) / threads;
      for (int64_t tile = 0; tile < tiling.row_tiles; tile += block_tiles) {
        for (int64_t panel = panels * thread / threads; panel < end_panel; panel += kBlockPanels) {
          compute_block(args, tiling,
                        {.begin_tile = tile,
                         .end_tile = std::min(tiling.row_tiles, tile + block_tiles),
                         .begin_panel = panel,
                         .end_panel = std::min(end_panel, panel + kBlockPanels)},
                        a, sums + thread * sums_size);
        }
      }
    });
  }

  struct Block {
    int64_t begin_tile, end_tile;  // row tiles
    int64_t begin_panel, end_panel;
  };

  // A depth block of A, of the panels and all sums stay in L2 together; one panel's part in L1.
  static void compute_block(const GemmArgs& args, const Tiling& tiling, const Block& block,
                            const std::byte* a, float* sums) {
    const std::byte* weight = args.weight->data.data();
    const int64_t panel_sums = (block.end_tile - block.begin_tile) * kTileRows * kPanel;
    for (int64_t k = 0; k < tiling.depth_tiles; k += tiling.block_depth) {
      for (int64_t panel = block.begin_panel; panel < block.end_panel; ++panel) {
        const std::byte* b = weight + (panel * tiling.depth_tiles + k) * kPanelTileBytes;
        const std::byte* next_b =
            panel + 1 < block.end_panel
                ? b + tiling.depth_tiles * kPanelTileBytes
                : weight + (block.begin_panel * tiling.depth_tiles + k + tiling.block_depth) *
                               kPanelTileBytes;
        float* to = sums + (panel - block.begin_panel) * panel_sums;
        compute_panel(tiling, block, k, panel, {.a = a, .b = b, .next_b = next_b}, to);
        if (k + tiling.block_depth < tiling.depth_tiles) continue;
        const int64_t first = block.begin_tile * kTileRows;
        const int64_t rows = std::min(tiling.rows, block.end_tile * kTileRows) - first;
        write_gemm_tile<Avx512>(args, to, first, rows, panel * kPanel);
      }
    }
  }

  // Adds the depth block from tile k on to the sums of one panel.
  static void compute_panel(const Tiling& tiling, const Block& block, int64_t k, int64_t panel,
                            Operands x, float* sums) {
    const std::byte* a = x.a;
    const int64_t pairs = (block.end_tile - block.begin_tile + 1) / 2;
    x.count = tiling.tiles_of_block(k);
    x.a_stride = x.count * kTileBytes;
    // While this panel is computed, fetch its share of the next depth block of A, and the next
    // panel.
    x.next_a = a +
               tiling.a_offset(block.begin_tile,
                               std::min(k + tiling.block_depth, tiling.depth_tiles - 1)) +
               (panel - block.begin_panel) * pairs * x.count * kNextABytes;
    x.next_b_bytes = round_up((kPanelTileBytes + pairs - 1) / pairs, 64);
    const bool stream_b = pairs == 1;
    for (int64_t tile = block.begin_tile; tile < block.end_tile; tile += 2) {
      const bool pair = tile + 1 < block.end_tile;
      auto* compute = stream_b ? (pair ? compute_tile<2, true> : compute_tile<1, true>)
                               : (pair ? compute_tile<2, false> : compute_tile<1, false>);
      x.a = a + tiling.a_offset(tile, k);
      compute(x, sums + (tile - block.begin_tile) * kTileRows * kPanel, k == 0);
      x.next_a += x.count * kNextABytes;
      x.next_b += x.count * x.next_b_bytes;
    }
  }
};

inline void amx_gemm(Stream& stream, const GemmArgs& args) {
  if (args.weight->dtype != DType::kBF16) return gemm<Avx512>(stream, args);
  check_gemm<Avx512>(args, AmxGemm::kLayout);
  AmxGemm::run(stream, args);
}

}  // namespace quire

#pragma clang attribute pop
