#include "kvcache/kv_cache_spec.h"

#include <algorithm>
#include <map>
#include <string>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

// Layers per group.  The rarest kind sets it, so that little is padded; kinds of nearly equal
// number make one group each, padded to the larger.  Source: vLLM's rule for hybrid models.
int group_size_for(const std::map<int, std::vector<int>>& layers_by_window) {
  size_t fewest = layers_by_window.begin()->second.size();
  size_t most = fewest;
  for (const auto& [window, layers] : layers_by_window) {
    fewest = std::min(fewest, layers.size());
    most = std::max(most, layers.size());
  }
  return static_cast<int>(2 * most < 3 * fewest ? most : fewest);
}

}  // namespace

KVCacheSpec make_kv_cache_spec(const std::vector<AttentionLayerSpec>& layers, int block_size,
                               int bytes_per_element) {
  CHECK(!layers.empty() && block_size > 0 && bytes_per_element > 0);
  const int64_t elements_per_token = int64_t{layers[0].num_kv_heads} * layers[0].head_dim;
  std::map<int, std::vector<int>> layers_by_window;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (int64_t{layers[i].num_kv_heads} * layers[i].head_dim != elements_per_token) {
      throw LoadError("layer " + std::to_string(i) + " needs a KV cache of " +
                      std::to_string(layers[i].num_kv_heads) + " heads of " +
                      std::to_string(layers[i].head_dim) +
                      ", a different size than layer 0; such models are not supported");
    }
    layers_by_window[layers[i].sliding_window].push_back(static_cast<int>(i));
  }
  const size_t group_size = static_cast<size_t>(group_size_for(layers_by_window));
  KVCacheSpec spec;
  spec.block_size = block_size;
  spec.layer_bytes_per_block = 2 * elements_per_token * bytes_per_element * block_size;
  spec.block_bytes = spec.layer_bytes_per_block * static_cast<int64_t>(group_size);
  for (const auto& [window, indices] : layers_by_window) {
    for (size_t begin = 0; begin < indices.size(); begin += group_size) {
      const size_t end = std::min(begin + group_size, indices.size());
      spec.groups.push_back({.layer_indices = {indices.begin() + static_cast<std::ptrdiff_t>(begin),
                                               indices.begin() + static_cast<std::ptrdiff_t>(end)},
                             .sliding_window = window});
    }
  }
  return spec;
}

int64_t num_blocks_for_request(const KVCacheSpec& spec, int num_tokens, int max_tokens_per_step) {
  const auto ceil_div = [&](int64_t num) { return (num + spec.block_size - 1) / spec.block_size; };
  int64_t num_blocks = 0;
  for (const KVCacheGroupSpec& group : spec.groups) {
    int64_t num_group_blocks = ceil_div(num_tokens);
    if (group.sliding_window > 0) {
      // The tokens of one step and those that the first of them sees need not start a block.
      const int64_t num_visible = int64_t{group.sliding_window} - 1 + max_tokens_per_step;
      num_group_blocks = std::min(num_group_blocks, ceil_div(num_visible) + 1);
    }
    num_blocks += num_group_blocks;
  }
  return num_blocks;
}

}  // namespace quire
