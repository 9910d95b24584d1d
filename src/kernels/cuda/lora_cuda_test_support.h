// Random adapters on the device, for the tests of the LoRA kernels.
#pragma once

#include "kernels/cuda/cuda_test_support.h"
#include "kernels/lora_test_support.h"

namespace quire {

// A LoraTestBatch and its arena on the device.
struct DeviceBatch {
  template <typename Upload>
  DeviceBatch(const LoraTestArena& from, const LoraTestBatch& host, const Upload& upload,
              Stream& stream)
      : arena(from.arena().num_bytes(), *cuda_device()),
        num_tiles(upload(host.batch.num_tiles)),
        tiles(upload(host.batch.tiles)),
        tokens(upload(host.batch.tokens)),
        places(upload(host.batch.places)),
        batch(host.batch) {
    stream.copy(arena.data(), from.arena().data(), arena.num_bytes());
    stream.synchronize();
    batch.arena = arena.data();
    batch.num_tiles = num_tiles.view();
    batch.tiles = tiles.view();
    batch.tokens = tokens.view();
    batch.places = places.view();
  }
  Buffer arena;
  Tensor num_tiles, tiles, tokens, places;
  LoraBatch batch;
};

}  // namespace quire
