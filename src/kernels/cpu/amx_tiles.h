// The AMX tile registers of the calling thread.
#pragma once

#include <immintrin.h>

#include <cstdint>

#pragma clang attribute push(__attribute__((target("amx-tile"))), apply_to = function)

namespace quire {

// Shapes for bf16 products: A is [a_rows][depth], B is [depth / 2][16][2], C is [a_rows][16] f32.
struct AmxShapes {
  int a_rows = 16;
  int depth = 32;
};

// While alive, tiles 0-3 are C, 4-5 A and 6-7 B.
class AmxTiles {
 public:
  explicit AmxTiles(const AmxShapes& shapes) {
    Config config;
    for (int tile = 0; tile < 8; ++tile) {
      const bool is_a = tile == 4 || tile == 5;
      const bool is_b = tile >= 6;
      config.row_bytes[tile] = static_cast<uint16_t>(is_a ? 2 * shapes.depth : 64);
      config.rows[tile] = static_cast<uint8_t>(is_b ? shapes.depth / 2 : shapes.a_rows);
    }
    _tile_loadconfig(&config);
  }
  ~AmxTiles() { _tile_release(); }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;

 private:
  // Source: Intel SDM volume 1, section 18.3.
  struct alignas(64) Config {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
  };
};

}  // namespace quire

#pragma clang attribute pop
