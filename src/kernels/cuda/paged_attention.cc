// Chooses the kernels of paged attention.
#include "kernels/cuda/paged_attention.h"

#include "kernels/cuda/cuda_kernels.h"
#include "kernels/cuda/launch.cuh"

namespace quire {
namespace {

void check_shapes(const PagedAttentionArgs& args) {
  const KVCacheView& cache = args.cache;
  const AttentionBatch& batch = *args.batch;
  constexpr int kPieceBytes = 16;  // loaded and stored at once
  const int64_t piece = kPieceBytes / size_of(cache.dtype);
  CHECK(args.q.dtype == cache.dtype && args.out.dtype == cache.dtype, "q is ",
        to_string(args.q.dtype), ", the cache ", to_string(cache.dtype));
  CHECK(args.num_heads % cache.num_kv_heads == 0, args.num_heads, " heads, ", cache.num_kv_heads,
        " KV heads");
  CHECK(cache.block_size % 16 == 0 && cache.head_dim % 8 == 0, "block_size ", cache.block_size,
        ", head_dim ", cache.head_dim);
  CHECK(args.q.row_stride % piece == 0 && args.out.row_stride % piece == 0, "row strides ",
        args.q.row_stride, " and ", args.out.row_stride);
  CHECK(reinterpret_cast<uintptr_t>(args.q.data) % kPieceBytes == 0 &&
            reinterpret_cast<uintptr_t>(args.out.data) % kPieceBytes == 0 &&
            reinterpret_cast<uintptr_t>(cache.arena + cache.layer_offset) % kPieceBytes == 0 &&
            cache.block_bytes % kPieceBytes == 0,
        "unaligned");
  CHECK(args.scale > 0.0F && args.softcap >= 0.0F, "scale ", args.scale, ", softcap ",
        args.softcap);
  CHECK(batch.num_decode_seqs >= 0 && batch.num_decode_seqs <= batch.num_seqs &&
            batch.num_decode_seqs <= args.q.rows(),
        batch.num_decode_seqs, " of ", batch.num_seqs, " sequences, ", args.q.rows(), " tokens");
}

bool has_tensor_core_kernels(DType dtype, int head_dim) {
  const int first_arch = dtype == DType::kBF16 ? 80 : 75;
  if (dtype == DType::kF32 || cuda_properties().arch < first_arch) return false;
  for (const int known : {64, 80, 96, 128, 256}) {
    if (head_dim == known) return true;
  }
  return false;
}

}  // namespace

AttentionPlan cuda_plan_attention(Stream& stream, const PlanAttentionArgs& args) {
  if (args.batch->num_decode_seqs == 0 ||
      !has_tensor_core_kernels(args.shape.dtype, args.shape.head_dim)) {
    return {};
  }
  return plan_paged_attention_decode(stream, args);
}

void cuda_paged_attention(Stream& stream, const PagedAttentionArgs& args) {
  const AttentionBatch& batch = *args.batch;
  if (batch.num_seqs == 0 || args.q.rows() == 0) return;
  check_shapes(args);
  if (!has_tensor_core_kernels(args.cache.dtype, args.cache.head_dim)) {
    return paged_attention_scalar(stream, args);
  }
  if (batch.num_decode_seqs > 0) paged_attention_decode(stream, args);
  if (batch.num_decode_seqs == batch.num_seqs) return;
  const PrefillArgs prefill{.attention = &args,
                            .first_seq = batch.num_decode_seqs,
                            .num_seqs = batch.num_seqs - batch.num_decode_seqs,
                            .first_token = batch.num_decode_seqs,
                            .num_tokens = static_cast<int>(args.q.rows()) - batch.num_decode_seqs};
  if (prefill.num_tokens == 0) return;
  if (!paged_attention_prefill_sm90a(stream, prefill)) paged_attention_prefill(stream, prefill);
}

}  // namespace quire
