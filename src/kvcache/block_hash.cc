#include "kvcache/block_hash.h"

#include <bit>

#include "kvcache/blake2s.h"

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

BlockHash hash_block(const BlockHash& parent, std::span<const int32_t> token_ids) {
  Blake2s128 hash(kBlockDomain);
  hash.update(&parent, sizeof(parent));
  hash.update(token_ids.data(), token_ids.size_bytes());
  return std::bit_cast<BlockHash>(hash.finish());
}

}  // namespace quire
