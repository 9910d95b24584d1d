// Divides the tiles of a decoding batch into shares (paged_attention_plan.cuh), once per step.
//
// If there are shares enough, each piece is cut into equal parts and a share is one part.
// Otherwise shares are equal and go on from piece to piece, and cut where they end.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention_plan.cuh"
#include "kernels/cuda/paged_attention_work.cuh"

namespace quire {
namespace {

constexpr int kPlanThreads = 512;

// Sequences whose places in the list fit in shared memory, on every processor.
constexpr int kMaxSeqs = 12000;

// Parts that a block combines in the time of a tile.
constexpr float kPartsPerTile = 16.0F;

struct Division {
  int total_tiles = 0;
  int share = 0;  // tiles, if shares go on from piece to piece
  int part = 0;   // the most tiles of a part, if each share is one part; else 0
};

__device__ int tiles_of(const PlanParams& params, int seq) {
  return key_tiles(params.seq_lens[seq], params.sliding_window, params.tile_keys).count;
}

__device__ int divided_up(int count, int by) { return (count + by - 1) / by; }

// Called by a whole warp.
__device__ Division divide(const PlanParams& params) {
  int most = 0;
  const int total = params.num_rows * count_items(params.num_seqs, [&](int seq) {
                      const int count = tiles_of(params, seq);
                      most = max(most, count);
                      return count;
                    });
  for (int offset = 16; offset > 0; offset /= 2) {
    most = max(most, __shfl_xor_sync(0xffffffffU, most, offset));
  }
  // n tiles in parts of c take the time of c tiles, and of combining n / c parts.
  const int least = static_cast<int>(ceilf(sqrtf(static_cast<float>(most) / kPartsPerTile)));
  Division division{.total_tiles = total,
                    .share = max(least, divided_up(total, params.num_shares))};
  // A part may be longer than an even share by one tile, which costs less than going on does.
  for (int part = division.share; part <= division.share + 1 && division.part == 0; ++part) {
    const int num_parts = params.num_rows * count_items(params.num_seqs, [&](int seq) {
                            return divided_up(tiles_of(params, seq), part);
                          });
    if (num_parts <= params.num_shares) division.part = part;
  }
  return division;
}

// Places of the sequences in the list of tiles, or of parts: begins[0 .. num_seqs].  Called by a
// whole warp.
__device__ void find_places(const PlanParams& params, const Division& division, int* begins) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  int begin = 0;
  for (int first_seq = 0; first_seq < params.num_seqs; first_seq += 32) {
    const int seq = first_seq + lane;
    int end = seq < params.num_seqs ? tiles_of(params, seq) : 0;
    if (division.part > 0) end = divided_up(end, division.part);
    end *= params.num_rows;
    for (int offset = 1; offset < 32; offset *= 2) {
      const int other = __shfl_up_sync(0xffffffffU, end, offset);
      if (lane >= offset) end += other;
    }
    if (seq < params.num_seqs) begins[seq + 1] = begin + end;
    begin += __shfl_sync(0xffffffffU, end, 31);
  }
  if (lane == 0) begins[0] = 0;
}

// The sequence that has a place before begins[num_seqs].
__device__ int seq_at(const int* begins, int num_seqs, int place) {
  int first = 0;
  int last = num_seqs - 1;
  while (first < last) {
    const int middle = (first + last) / 2;
    if (begins[middle + 1] > place) {
      last = middle;
    } else {
      first = middle + 1;
    }
  }
  return first;
}

__device__ DecodeShare one_part(const PlanParams& params, const int* begins, int index) {
  if (index >= begins[params.num_seqs]) return {};
  const int seq = seq_at(begins, params.num_seqs, index);
  const int num_parts = (begins[seq + 1] - begins[seq]) / params.num_rows;
  const int row = (index - begins[seq]) / num_parts;
  const int part = (index - begins[seq]) % num_parts;
  const int num_tiles = tiles_of(params, seq);
  const int first_tile = part * num_tiles / num_parts;
  return {.seq = seq,
          .row = row,
          .first_tile = first_tile,
          .num_tiles = (part + 1) * num_tiles / num_parts - first_tile,
          .seq_len = params.seq_lens[seq],
          .leader = index - part,
          .num_parts = num_parts,
          .num_last_parts = num_parts};
}

struct CutPiece {
  int seq = 0;
  int row = 0;
  int list_begin = 0;
  int leader = 0;
  int num_parts = 0;
};

__device__ CutPiece piece_at(const PlanParams& params, const Division& division, const int* begins,
                             int place) {
  const int seq = seq_at(begins, params.num_seqs, place);
  const int num_tiles = tiles_of(params, seq);
  const int row = (place - begins[seq]) / num_tiles;
  const int list_begin = begins[seq] + row * num_tiles;
  const int leader = list_begin / division.share;
  const int last = (list_begin + num_tiles - 1) / division.share;
  return {seq, row, list_begin, leader, last - leader + 1};
}

__device__ DecodeShare equal_share(const PlanParams& params, const Division& division,
                                   const int* begins, int index) {
  const int begin = index * division.share;
  if (begin >= division.total_tiles) return {};
  const int end = min(begin + division.share, division.total_tiles);
  const CutPiece first = piece_at(params, division, begins, begin);
  const CutPiece last = piece_at(params, division, begins, end - 1);
  return {.seq = first.seq,
          .row = first.row,
          .first_tile = begin - first.list_begin,
          .num_tiles = end - begin,
          .seq_len = params.seq_lens[first.seq],
          .leader = first.leader,
          .num_parts = first.num_parts,
          .num_last_parts = last.num_parts};
}

// Does not let the next kernel start early, so that kernels may read the plan before they wait.
__global__ void __launch_bounds__(kPlanThreads)
    plan_kernel(const __grid_constant__ PlanParams params) {
  extern __shared__ int begins[];
  __shared__ int divided[3];
  wait_for_previous_kernel();

  if (threadIdx.x < 32) {
    const Division division = divide(params);
    find_places(params, division, begins);
    if (threadIdx.x == 0) {
      divided[0] = division.total_tiles;
      divided[1] = division.share;
      divided[2] = division.part;
    }
  }
  __syncthreads();
  const Division division{divided[0], divided[1], divided[2]};
  for (int i = static_cast<int>(threadIdx.x); i < params.num_shares; i += kPlanThreads) {
    params.shares[i] =
        division.part > 0 ? one_part(params, begins, i) : equal_share(params, division, begins, i);
    params.num_done[i] = 0;
  }
  __threadfence();
}

}  // namespace

void plan_decode(Stream& stream, const PlanParams& params) {
  CHECK(params.num_seqs <= kMaxSeqs, params.num_seqs, " sequences");
  LaunchShape shape;
  shape.grid = dim3(1);
  shape.block = dim3(kPlanThreads);
  shape.shared_bytes = (params.num_seqs + 1) * static_cast<int>(sizeof(int32_t));
  launch(stream, "plan_decode", plan_kernel, shape, params);
}

}  // namespace quire
