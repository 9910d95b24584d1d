// Identity of a full KV block: a hash over everything its content depends on.
//
// h_root = H(model, adapter content, cache salt), h_i = H(h_{i-1}, tokens of block i).  Equal
// hashes are taken for equal content, without comparing tokens, so H is cryptographic: BLAKE2s with
// a 128-bit digest.  To be handed another tenant's block, a client would need a second preimage
// (2^128 work); an accidental collision among the 2^40 blocks of a long-lived server has
// probability 2^-49.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace quire {

struct BlockHash {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const BlockHash&) const = default;
};

// What two requests must have in common to share any block.
struct PrefixIdentity {
  uint64_t model_id = 0;  // weights, dtype, anything that changes the KV of a token
  BlockHash adapter_content =
      {};  // hash of the adapter's weights, not of its name; zero = no adapter
  std::string_view cache_salt = {};  // tenants with different salts share nothing
};

BlockHash hash_prefix_identity(const PrefixIdentity& identity);
// The parent of the first block on which an adapter acts, if it does not act on all.
BlockHash hash_adapter_start(const BlockHash& parent, const BlockHash& adapter_content,
                             int first_token);
BlockHash hash_block(const BlockHash& parent, std::span<const int32_t> token_ids);

}  // namespace quire
