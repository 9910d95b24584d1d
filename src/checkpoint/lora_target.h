// What an adapter may change.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quire {

// One matrix of the model that an adapter may change, by its name in the checkpoint.
struct LoraTarget {
  std::string name;  // "model.layers.3.self_attn.q_proj"
  int64_t in_features = 0;
  int64_t out_features = 0;
  bool is_head = false;  // gives the logits
  std::vector<int64_t> output_order =
      {};  // output i is the checkpoint's output_order[i]; empty = i
};

}  // namespace quire
