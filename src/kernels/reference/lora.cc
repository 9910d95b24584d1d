#include "kernels/lora.h"

#include <algorithm>

#include "kernels/element.h"
#include "kernels/reference/reference.h"

namespace quire::reference {
namespace {

const LoraPart& part_of(const LoraBatch& batch, const LoraTile& tile, int target) {
  return reinterpret_cast<const LoraPart*>(batch.arena + tile.parts)[target];
}

const LoraRow& row_of(const LoraBatch& batch, const LoraPart& part, int j) {
  return reinterpret_cast<const LoraRow*>(batch.arena + part.rows)[j];
}

// Calls body(tile, i) for every adapted token; i: its place in batch.tokens.
template <typename Body>
void for_tokens(const LoraBatch& batch, const Body& body) {
  for (int t = 0; t < *batch.num_tiles.as<int32_t>(); ++t) {
    const LoraTile& tile = batch.tiles.as<const LoraTile>()[t];
    for (int i = tile.begin; i < tile.begin + tile.count; ++i) body(tile, i);
  }
}

float& sum_at(const TensorView& sums, int64_t partial, int64_t token, int64_t column) {
  return sums.as<float>()[(partial * sums.shape[1] + token) * sums.shape[2] + column];
}

void shrink(const LoraAddArgs& args) {
  const LoraBatch& batch = *args.batch;
  const int64_t size = args.x.shape[1];
  const int64_t range = lora_partial_features(size, args.sums.shape[0]);
  for_tokens(batch, [&](const LoraTile& tile, int i) {
    const auto* x = args.x.row<float>(batch.tokens.as<int32_t>()[i]);
    for (int p = 0; p < static_cast<int>(args.part_out_features.size()); ++p) {
      const LoraPart& part = part_of(batch, tile, args.first_target + p);
      for (int j = 0; j < part.rank; ++j) {
        const std::byte* a = batch.arena + row_of(batch, part, j).a;
        for (int64_t partial = 0; partial < args.sums.shape[0]; ++partial) {
          float sum = 0.0F;
          for (int64_t k = partial * range; k < std::min(size, (partial + 1) * range); ++k) {
            sum += load_element(batch.dtype, a, k) * x[k];
          }
          sum_at(args.sums, partial, i, p * batch.max_rank + j) = sum;
        }
      }
    }
  });
}

void expand(const LoraAddArgs& args) {
  const LoraBatch& batch = *args.batch;
  for_tokens(batch, [&](const LoraTile& tile, int i) {
    auto* out = args.out.row<float>(batch.tokens.as<int32_t>()[i]);
    for (size_t p = 0; p < args.part_out_features.size(); ++p) {
      const LoraPart& part = part_of(batch, tile, args.first_target + static_cast<int>(p));
      for (int64_t o = 0; o < args.part_out_features[p]; ++o) {
        float sum = 0.0F;
        for (int j = 0; j < part.rank; ++j) {
          float projected = 0.0F;
          for (int64_t k = 0; k < args.sums.shape[0]; ++k) {
            projected += sum_at(args.sums, k, i, static_cast<int64_t>(p) * batch.max_rank + j);
          }
          sum += projected * load_element(batch.dtype, batch.arena + row_of(batch, part, j).b, o);
        }
        out[o] += part.scale * sum;
      }
      out += args.part_out_features[p];
    }
  });
}

}  // namespace

void lora_add(Stream&, const LoraAddArgs& args) {
  shrink(args);
  expand(args);
}

}  // namespace quire::reference
