// Divides the tiles of a decoding batch into shares (paged_attention_plan.cuh), once per step.
//
// If there are shares enough, each piece is cut into equal parts and a share is one part.
// Otherwise shares are equal and go on from piece to piece, and cut where they end.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention_plan.cuh"
#include "kernels/cuda/paged_attention_work.cuh"

namespace quire {
namespace {

constexpr int kPlanThreads = 512;

// Sequences whose places in the list fit in shared memory, on every processor.
constexpr int kMaxSeqs = 12000;

// Blocks of threads that fill the places for results, beside the one that plans.
constexpr int kMaxFillBlocks = 64;
constexpr int64_t kFillVectors = 8;  // of a thread, at least

// Parts that a block combines in the time of a tile.
constexpr float kPartsPerTile = 16.0F;

// Parts may be longer than an even share of the tiles by this fraction, if each share is one part
// then: going on from piece to piece costs more.
constexpr int kLongerParts = 16;

// The time that a block takes to go on to another piece, in tiles; less where pieces are longer
// than kShortPiece on average, since more tiles are on their way meanwhile.
constexpr int kShortPiece = 5;
constexpr int kShortPieceGap = 2;
constexpr int kGap = 1;

struct Division {
  int gap = 0;
  int list_tiles = 0;
  int share = 0;  // tiles of the list, if shares go on from piece to piece
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
  const int shortest = max(least, divided_up(total, params.num_shares));
  const int longest = shortest + shortest / kLongerParts + 1;
  const int step = shortest / (2 * kLongerParts) + 1;
  const int num_pieces = params.num_seqs * params.num_rows;
  const int gap = total < num_pieces * kShortPiece ? kShortPieceGap : kGap;
  const int list_tiles = total + num_pieces * gap;
  Division division{.gap = gap,
                    .list_tiles = list_tiles,
                    .share = max(gap + least, divided_up(list_tiles, params.num_shares))};
  for (int part = shortest; part <= longest && division.part == 0; part += step) {
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
    if (seq < params.num_seqs) {
      end = division.part > 0 ? divided_up(end, division.part) : end + division.gap;
    }
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
          .num_parts = num_parts,
          .num_last_parts = num_parts};
}

struct CutPiece {
  int seq = 0;
  int row = 0;
  int first_tile = 0;  // its place in the list
  int num_parts = 0;
};

__device__ CutPiece piece_at(const PlanParams& params, const Division& division, const int* begins,
                             int place) {
  const int seq = seq_at(begins, params.num_seqs, place);
  const int num_tiles = tiles_of(params, seq);
  const int row = (place - begins[seq]) / (num_tiles + division.gap);
  const int first_tile = begins[seq] + row * (num_tiles + division.gap) + division.gap;
  const int leader = first_tile / division.share;
  const int last = (first_tile + num_tiles - 1) / division.share;
  return {seq, row, first_tile, last - leader + 1};
}

__device__ DecodeShare equal_share(const PlanParams& params, const Division& division,
                                   const int* begins, int index) {
  const int begin = index * division.share;
  if (begin >= division.list_tiles) return {};
  const int end = min(begin + division.share, division.list_tiles);
  const CutPiece first = piece_at(params, division, begins, begin);
  const CutPiece last = piece_at(params, division, begins, end - 1);
  const int first_tile = max(begin, first.first_tile);
  return {.seq = first.seq,
          .row = first.row,
          .first_tile = first_tile - first.first_tile,
          .num_tiles = end - first_tile,
          .seq_len = params.seq_lens[first.seq],
          .num_parts = first.num_parts,
          .num_last_parts = end > last.first_tile ? last.num_parts : 1,
          .gap = division.gap};
}

// Called by the blocks after the first.
__device__ void fill_places(const PlanParams& params) {
  uint4* vectors = reinterpret_cast<uint4*>(params.places);
  const int64_t stride = int64_t{gridDim.x - 1} * kPlanThreads;
  for (int64_t i = int64_t{blockIdx.x - 1} * kPlanThreads + threadIdx.x;
       i < params.num_place_words / 4; i += stride) {
    vectors[i] = {kMissing, kMissing, kMissing, kMissing};
  }
  __threadfence();
}

// Does not let the next kernel start early, so that kernels may read before they wait what this one
// and those before it wrote.
__global__ void __launch_bounds__(kPlanThreads)
    plan_kernel(const __grid_constant__ PlanParams params) {
  extern __shared__ int begins[];
  __shared__ Division division;
  wait_for_previous_kernel();
  if (blockIdx.x > 0) return fill_places(params);

  if (threadIdx.x < 32) {
    const Division found = divide(params);
    find_places(params, found, begins);
    if (threadIdx.x == 0) division = found;
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < params.num_shares; i += kPlanThreads) {
    params.shares[i] =
        division.part > 0 ? one_part(params, begins, i) : equal_share(params, division, begins, i);
  }
  __threadfence();
}

}  // namespace

void plan_decode(Stream& stream, const PlanParams& params) {
  CHECK(params.num_seqs <= kMaxSeqs, params.num_seqs, " sequences");
  CHECK(params.num_place_words > 0 && params.num_place_words % 4 == 0, params.num_place_words);
  const int64_t fill_blocks = (params.num_place_words / 4 + kPlanThreads * kFillVectors - 1) /
                              (kPlanThreads * kFillVectors);
  LaunchShape shape;
  shape.grid = dim3(static_cast<unsigned>(1 + std::min<int64_t>(fill_blocks, kMaxFillBlocks)));
  shape.block = dim3(kPlanThreads);
  shape.shared_bytes = (params.num_seqs + 1) * static_cast<int>(sizeof(int32_t));
  launch(stream, "plan_decode", plan_kernel, shape, params);
}

}  // namespace quire
