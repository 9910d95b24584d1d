#include "kvcache/block_hash.h"

#include <array>
#include <bit>

#include "base/blake2s.h"

namespace quire {
namespace {

constexpr uint64_t kIdentityDomain = 1;
constexpr uint64_t kBlockDomain = 2;

}  // namespace

BlockHash hash_prefix_identity(const PrefixIdentity& identity) {
  Blake2s128 hash(kIdentityDomain);
  hash.update(&identity.model_id, sizeof(identity.model_id));
  hash.update(&identity.adapter_content, sizeof(identity.adapter_content));
  hash.update(identity.cache_salt.data(), identity.cache_salt.size());
  return std::bit_cast<BlockHash>(hash.finish());
}

BlockHash hash_adapter_start(const BlockHash& parent, const BlockHash& adapter_content,
                             int first_token) {
  // As if there were a block of these: blocks of tokens are longer.
  const auto content = std::bit_cast<std::array<int32_t, 4>>(adapter_content);
  const std::array<int32_t, 5> start = {content[0], content[1], content[2], content[3],
                                        first_token};
  return hash_block(parent, start);
}

BlockHash hash_block(const BlockHash& parent, std::span<const int32_t> token_ids) {
  Blake2s128 hash(kBlockDomain);
  hash.update(&parent, sizeof(parent));
  hash.update(token_ids.data(), token_ids.size_bytes());
  return std::bit_cast<BlockHash>(hash.finish());
}

}  // namespace quire
