// Paged attention of prefill chunks on Hopper.
//
// A block owns kRows queries of one head and walks over the keys that they see, the last ones
// first, kKeys at a time.  One warp copies keys and values into two-stage rings with TMA, a box of
// 64 dims x (up to a cache block of) tokens at a time; the other warpgroups own 64 queries each.
// While a warpgroup's softmax of one step runs, its product of the previous step's probabilities
// with the values runs as well, and the warpgroups take turns at starting their products, so that
// one's softmax falls on the other's products.
// Key steps begin at multiples of kKeys, so a query's result does not depend on its chunk.
// Sources: Shah et al. 2024 (FlashAttention-3), arXiv:2407.08608; PTX ISA, wgmma.
#include <limits>
#include <numeric>

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/paged_attention.h"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/sm90_wgmma.cuh"
#include "kernels/cuda/tensor_map.h"

namespace quire {
namespace {

constexpr int kStages = 2;
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kPanelBytes = 128;  // of a row: 64 elements, as wide as the swizzle
constexpr int kGroupRows = 8;     // rows after which the swizzle repeats
constexpr int kGroupBytes = kGroupRows * kPanelBytes;

// Sizes by head_dim.  Registers of a thread: scores kKeys / 2, probabilities kKeys / 4, output
// kHeadDim / 2.
template <int kHeadDim>
struct Tiles {
  static constexpr int kConsumers = kHeadDim == 64 ? 3 : 2;  // warpgroups of 64 queries
  static constexpr int kRows = 64 * kConsumers;
  static constexpr int kKeys = kHeadDim == 256 ? 80 : 128;
  static constexpr int kPanels = kHeadDim / 64;
  static constexpr int kThreads = kWarpgroupThreads * (1 + kConsumers);
  static constexpr int kProducerRegisters = kConsumers == 3 ? 32 : 40;
  static constexpr int kConsumerRegisters = kConsumers == 3 ? 160 : 232;
  // Turns cost more than they give where products take much longer than the softmax.
  static constexpr bool kTurns = kHeadDim <= 128;

  // Shared memory: queries as [panel][row][64 elements], keys and values as
  // [group of 8 tokens][panel][token][64 elements], so that all of a block's tokens come in one
  // copy.
  static constexpr int kKeyGroupBytes = kPanels * kGroupBytes;
  static constexpr int kQueryBytes = kPanels * kRows * kPanelBytes;
  static constexpr int kKeyBytes = kPanels * kKeys * kPanelBytes;
  static constexpr int kBarriersAt = kQueryBytes + 2 * kStages * kKeyBytes;
  static constexpr int kSharedBytes = kBarriersAt + 8 * (1 + 4 * kStages);
};

struct PrefillParams {
  CUtensorMap q_map;   // [tokens, num_heads * head_dim]
  CUtensorMap kv_map;  // [block, groups of all key heads, then value heads][panel][token][64]
  const int32_t* query_start_loc;
  const int32_t* seq_lens;
  const int32_t* block_table;
  int64_t block_table_stride;
  void* out;
  int64_t out_stride;  // elements
  int first_seq;
  int end_seq;
  int block_size;
  int box_tokens;  // tokens that one copy brings; divides block_size and kKeys
  int num_kv_heads;
  int heads_per_kv_head;
  int sliding_window;  // 0 = off
  float cap_scale;     // q·k * scale / softcap; unused without a cap
  float exp_scale;     // of the (capped) score, for exp2
};

// The queries of a block, and the steps over keys that they need.
struct QueryTile {
  int seq = 0;
  int seq_len = 0;
  int first_token = 0;     // row of q
  int num_rows = 0;        // 0 = no work
  int first_position = 0;  // of the first row in its sequence
  int last_step = 0;       // keys [step * kKeys, (step + 1) * kKeys)
  int num_steps = 0;
};

// Shared addresses.
template <int kHeadDim>
struct SharedMemory {
  using Size = Tiles<kHeadDim>;
  uint32_t base;
  __device__ uint32_t queries() const { return base; }
  __device__ uint32_t keys(int stage) const {
    return base + Size::kQueryBytes + stage * Size::kKeyBytes;
  }
  __device__ uint32_t values(int stage) const { return keys(kStages + stage); }
  // Barriers: filled by copies, and read by all consumer warps.
  __device__ uint32_t queries_full() const { return base + Size::kBarriersAt; }
  __device__ uint32_t keys_full(int stage) const { return queries_full() + 8 * (1 + stage); }
  __device__ uint32_t keys_read(int stage) const { return keys_full(kStages + stage); }
  __device__ uint32_t values_full(int stage) const { return keys_full(2 * kStages + stage); }
  __device__ uint32_t values_read(int stage) const { return keys_full(3 * kStages + stage); }
};

// A step's place in the rings.
struct RingPlace {
  int stage;
  uint32_t parity;
  __device__ explicit RingPlace(int step) : stage(step % kStages), parity((step / kStages) & 1) {}
};

// Tile number `tile` of all prefill sequences; within a sequence the last queries, which see the
// most keys, come first.  Every warp finds it for itself.
template <int kHeadDim>
__device__ QueryTile find_tile(const PrefillParams& params, int tile) {
  using Size = Tiles<kHeadDim>;
  constexpr uint32_t kAll = 0xffffffffU;
  const int lane = threadIdx.x % 32;
  QueryTile result;
  for (int first = params.first_seq; first < params.end_seq; first += 32) {
    const int seq = min(first + lane, params.end_seq);
    const int begin = params.query_start_loc[seq];
    const int length = params.query_start_loc[min(seq + 1, params.end_seq)] - begin;
    const int num_tiles = (length + Size::kRows - 1) / Size::kRows;
    int tiles_end = num_tiles;
    for (int offset = 1; offset < 32; offset *= 2) {
      const int before = __shfl_up_sync(kAll, tiles_end, offset);
      if (lane >= offset) tiles_end += before;
    }
    const uint32_t candidates = __ballot_sync(kAll, tiles_end > tile);
    if (candidates == 0) {
      tile -= __shfl_sync(kAll, tiles_end, 31);
      continue;
    }
    const int owner = __ffs(static_cast<int>(candidates)) - 1;
    const int first_row = (__shfl_sync(kAll, tiles_end, owner) - 1 - tile) * Size::kRows;
    const int query_len = __shfl_sync(kAll, length, owner);
    result.seq = first + owner;
    result.seq_len = params.seq_lens[result.seq];
    result.first_token = __shfl_sync(kAll, begin, owner) + first_row;
    result.num_rows = min(Size::kRows, query_len - first_row);
    result.first_position = result.seq_len - query_len + first_row;
    const int first_key =
        params.sliding_window > 0 ? max(0, result.first_position - params.sliding_window + 1) : 0;
    result.last_step = (result.first_position + result.num_rows - 1) / Size::kKeys;
    result.num_steps = result.last_step - first_key / Size::kKeys + 1;
    break;
  }
  return result;
}

// Where a lane's box of a step is: a block and a token in it; block -1 if there is none.
struct BoxPlace {
  int block = -1;
  int offset = 0;
};

template <int kHeadDim>
__device__ BoxPlace find_box(const PrefillParams& params, const QueryTile& tile, int step) {
  const int lane = threadIdx.x % 32;
  const int key = step * Tiles<kHeadDim>::kKeys + lane * params.box_tokens;
  BoxPlace place;
  if (lane * params.box_tokens < Tiles<kHeadDim>::kKeys && key < tile.seq_len) {
    const int index = key / params.block_size;
    place.block = params.block_table[tile.seq * params.block_table_stride + index];
    place.offset = key - index * params.block_size;
  }
  return place;
}

// One warp copies one head's keys or values of a step.
template <int kHeadDim>
__device__ void copy_step(const PrefillParams& params, const BoxPlace& place, int head, uint32_t to,
                          uint32_t full) {
  using Size = Tiles<kHeadDim>;
  const bool is_leader = threadIdx.x % 32 == 0;
  if (is_leader) barrier_arrive_and_expect(full, Size::kKeyBytes);
  __syncwarp();
  const int first_token = threadIdx.x % 32 * params.box_tokens;
  if (first_token < Size::kKeys) {
    const int group = (head * params.block_size + place.offset) / kGroupRows;
    copy_box(to + first_token / kGroupRows * Size::kKeyGroupBytes, full, params.kv_map, 0, 0, 0,
             group, place.block);
  }
  __syncwarp();
}

// The producer warp: queries, then keys one step ahead of values, as the consumers want them.
template <int kHeadDim>
__device__ void produce(const PrefillParams& params, const QueryTile& tile,
                        const SharedMemory<kHeadDim>& shared) {
  using Size = Tiles<kHeadDim>;
  const int head = blockIdx.x;
  const int key_head = head / params.heads_per_kv_head;
  const int value_head = params.num_kv_heads + key_head;
  if (threadIdx.x % 32 == 0) {
    barrier_arrive_and_expect(shared.queries_full(), Size::kQueryBytes);
#pragma unroll
    for (int panel = 0; panel < Size::kPanels; ++panel) {
      copy_box(shared.queries() + panel * Size::kRows * kPanelBytes, shared.queries_full(),
               params.q_map, head * kHeadDim + 64 * panel, tile.first_token);
    }
  }
  __syncwarp();
  BoxPlace place = find_box<kHeadDim>(params, tile, tile.last_step);
  for (int i = 0; i < tile.num_steps; ++i) {
    const RingPlace ring(i);
    if (i == 0) copy_step<kHeadDim>(params, place, key_head, shared.keys(0), shared.keys_full(0));
    BoxPlace next;
    if (i + 1 < tile.num_steps) {
      const RingPlace ahead(i + 1);
      next = find_box<kHeadDim>(params, tile, tile.last_step - i - 1);
      barrier_wait(shared.keys_read(ahead.stage), ahead.parity ^ 1);
      copy_step<kHeadDim>(params, next, key_head, shared.keys(ahead.stage),
                          shared.keys_full(ahead.stage));
    }
    barrier_wait(shared.values_read(ring.stage), ring.parity ^ 1);
    copy_step<kHeadDim>(params, place, value_head, shared.values(ring.stage),
                        shared.values_full(ring.stage));
    place = next;
  }
}

// scores = the warpgroup's queries times the keys of a stage.
template <typename T, int kHeadDim, int kSize>
__device__ void start_scores(float (&scores)[kSize], uint32_t queries, uint32_t keys) {
  using Size = Tiles<kHeadDim>;
  const uint64_t q = wgmma_descriptor(queries, kGroupBytes, 0);
  const uint64_t k = wgmma_descriptor(keys, Size::kKeyGroupBytes, 0);
#pragma unroll
  for (int i = 0; i < kHeadDim / 16; ++i) {
    const int in_panel = i % 4 * 32;
    wgmma_shared(T{}, scores, q + (i / 4 * Size::kRows * kPanelBytes + in_panel) / 16,
                 k + (i / 4 * kGroupBytes + in_panel) / 16, i > 0);
  }
  wgmma_commit();
}

// out += probabilities times the values of a stage.
template <typename T, int kHeadDim, int kSteps>
__device__ void start_output(float (&out)[kHeadDim / 2], const uint32_t (&probabilities)[kSteps][4],
                             uint32_t values) {
  constexpr int kKeyGroupBytes = Tiles<kHeadDim>::kKeyGroupBytes;
  const uint64_t v = wgmma_descriptor(values, kKeyGroupBytes, kGroupBytes);
#pragma unroll
  for (int i = 0; i < kSteps; ++i) {
    wgmma_registers(T{}, out, probabilities[i], v + i * (2 * kKeyGroupBytes / 16), 1);
  }
  wgmma_commit();
}

// The online softmax of a thread's two rows, r = 0 and 1; sums are of this thread's columns.
struct Softmax {
  float max[2] = {-kInfinity, -kInfinity};
  float sum[2] = {0.0F, 0.0F};
  float correction[2];  // what the output of earlier steps must be multiplied with
};

__device__ inline float exp2_approximate(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// tanh(x) with x in units of 1 / (2 log2 e); its error is absolute, about 1e-7.
__device__ inline float tanh_of_exponent(float x) {
  return 1.0F - __fdividef(2.0F, 1.0F + exp2_approximate(x));
}

// Hides the columns outside [first, last] of each row; the limits are relative to this thread's
// first column.
template <int kSize>
__device__ void mask_scores(float (&scores)[kSize], const int (&first)[2], const int (&last)[2]) {
#pragma unroll
  for (int i = 0; i < kSize; ++i) {
    const int column = i / 4 * 8 + i % 2;
    const int r = i / 2 % 2;
    if (column < first[r] || column > last[r]) scores[i] = -kInfinity;
  }
}

// Turns scores into exp2(exp_scale * (score - max)).
template <int kSize>
__device__ void update_softmax(float (&scores)[kSize], Softmax& softmax, float exp_scale) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float even = scores[2 * r];
    float odd = scores[2 * r + 1];
#pragma unroll
    for (int i = 4; i < kSize; i += 4) {
      even = fmaxf(even, scores[i + 2 * r]);
      odd = fmaxf(odd, scores[i + 2 * r + 1]);
    }
    float max = fmaxf(even, odd);
    max = fmaxf(max, __shfl_xor_sync(0xffffffffU, max, 1));
    max = fmaxf(max, __shfl_xor_sync(0xffffffffU, max, 2));
    max = fmaxf(max, softmax.max[r]);
    // A row that has seen no key yet.
    const float scaled_max = max == -kInfinity ? 0.0F : max * exp_scale;
    softmax.correction[r] = exp2_approximate(softmax.max[r] * exp_scale - scaled_max);
    softmax.max[r] = max;
    even = 0.0F;
    odd = 0.0F;
#pragma unroll
    for (int i = 0; i < kSize; i += 4) {
      float& first = scores[i + 2 * r];
      float& second = scores[i + 2 * r + 1];
      first = exp2_approximate(first * exp_scale - scaled_max);
      second = exp2_approximate(second * exp_scale - scaled_max);
      even += first;
      odd += second;
    }
    softmax.sum[r] = softmax.sum[r] * softmax.correction[r] + (even + odd);
  }
}

// Keeps what `sum` (>= 0) is made of ahead of the next wait for products.  The assembler sees no
// order between the two and would wait first; a warp barrier on a value it cannot know is one.
__device__ inline void compute_before_wait(float sum) {
  const uint32_t all = sum < 0.0F ? 0U : 0xffffffffU;
  asm volatile("bar.warp.sync %0;" ::"r"(all) : "memory");
}

__device__ inline uint32_t pack(Half, float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}
__device__ inline uint32_t pack(BFloat16, float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return reinterpret_cast<const uint32_t&>(pair);
}

// Rounds probabilities to the left operand of the next product: 16 keys are 8 values of a thread.
template <typename T, int kSize>
__device__ void pack_probabilities(uint32_t (&packed)[kSize / 8][4], const float (&values)[kSize]) {
#pragma unroll
  for (int i = 0; i < kSize / 2; ++i) {
    packed[i / 4][i % 4] = pack(T{}, values[2 * i], values[2 * i + 1]);
  }
}

template <int kSize>
__device__ void correct_output(float (&out)[kSize], const Softmax& softmax) {
#pragma unroll
  for (int i = 0; i < kSize; ++i) out[i] *= softmax.correction[i / 2 % 2];
}

// One warpgroup's part of a tile.
template <typename T, int kHeadDim, bool kSoftcap>
struct Consumer {
  using Size = Tiles<kHeadDim>;

  const PrefillParams& params;
  const QueryTile& tile;
  SharedMemory<kHeadDim> shared;
  int index;  // of the warpgroup among the consumers

  __device__ static int lane() { return threadIdx.x % 32; }
  // The thread's first row in the tile; its second is 8 on.
  __device__ int row() const {
    return 64 * index + threadIdx.x % kWarpgroupThreads / 32 * 16 + lane() / 4;
  }
  __device__ uint32_t queries() const { return shared.queries() + 64 * index * kPanelBytes; }

  // The warp is done with a stage.
  __device__ static void release(uint32_t read) {
    if (lane() == 0) barrier_arrive(read);
  }

  // Warpgroups start their products in turn, so each one's softmax begins at another time.
  __device__ void wait_for_turn() const {
    if constexpr (Size::kTurns) part_wait(1 + index, 2 * kWarpgroupThreads);
  }
  __device__ void pass_turn(int to) const {
    if constexpr (Size::kTurns) part_arrive(1 + to, 2 * kWarpgroupThreads);
  }

  // Caps and masks the scores of a step, then the softmax.
  __device__ void finish_scores(float (&scores)[Size::kKeys / 2], Softmax& softmax,
                                int step) const {
    if constexpr (kSoftcap) {
#pragma unroll
      for (int i = 0; i < Size::kKeys / 2; ++i) {
        scores[i] = tanh_of_exponent(scores[i] * params.cap_scale);
      }
    }
    const int first_key = step * Size::kKeys;
    const int first_position = tile.first_position + 64 * index;
    const int window = params.sliding_window;
    const bool passes_diagonal = first_key + Size::kKeys - 1 > first_position;
    const bool passes_window = window > 0 && first_key <= first_position + 63 - window;
    if (passes_diagonal || passes_window) {
      const int position = tile.first_position + row() - first_key - lane() % 4 * 2;
      const int last[2] = {position, position + 8};
      const int first[2] = {window > 0 ? position - window + 1 : 0,
                            window > 0 ? position + 8 - window + 1 : 0};
      mask_scores(scores, first, last);
    }
    update_softmax(scores, softmax, params.exp_scale);
  }

  // Slots beyond the sequence may hold NaN, which would survive a probability of zero.
  __device__ void clear_values_beyond_sequence() const {
    const int first = tile.seq_len - tile.last_step * Size::kKeys;
    if (first >= Size::kKeys) return;
    barrier_wait(shared.values_full(0), 0);
    constexpr int kVectors = kPanelBytes / 16;
    constexpr int kRowVectors = Size::kPanels * kVectors;
    const int thread = threadIdx.x % kWarpgroupThreads;
    for (int i = first * kRowVectors + thread; i < Size::kKeys * kRowVectors;
         i += kWarpgroupThreads) {
      const int row = i / kRowVectors;
      const int panel = i % kRowVectors / kVectors;
      const uint32_t to = shared.values(0) + row / kGroupRows * Size::kKeyGroupBytes +
                          panel * kGroupBytes + row % kGroupRows * kPanelBytes + i % kVectors * 16;
      asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(to), "r"(0) : "memory");
    }
    fence_shared_for_async();
    part_wait(1 + Size::kConsumers + index, kWarpgroupThreads);
  }

  __device__ void run() const {
    float scores[Size::kKeys / 2];
    float out[kHeadDim / 2] = {};
    uint32_t probabilities[Size::kKeys / 16][4];
    Softmax softmax;

    barrier_wait(shared.queries_full(), 0);
    barrier_wait(shared.keys_full(0), 0);
    wgmma_fence();
    start_scores<T, kHeadDim>(scores, queries(), shared.keys(0));
    wgmma_wait<0>(scores);
    release(shared.keys_read(0));
    finish_scores(scores, softmax, tile.last_step);
    pack_probabilities<T>(probabilities, scores);
    clear_values_beyond_sequence();

    constexpr int kLast = Size::kConsumers - 1;
    if (index == kLast && tile.num_steps > 1) pass_turn(0);
    for (int i = 1; i < tile.num_steps; ++i) {
      const RingPlace place(i);
      const RingPlace previous(i - 1);
      barrier_wait(shared.keys_full(place.stage), place.parity);
      wait_for_turn();
      wgmma_fence();
      start_scores<T, kHeadDim>(scores, queries(), shared.keys(place.stage));
      barrier_wait(shared.values_full(previous.stage), previous.parity);
      start_output<T, kHeadDim>(out, probabilities, shared.values(previous.stage));
      if (index < kLast) pass_turn(index + 1);
      if (index == kLast && i + 1 < tile.num_steps) pass_turn(0);
      wgmma_wait<1>(scores);
      release(shared.keys_read(place.stage));
      finish_scores(scores, softmax, tile.last_step - i);
      compute_before_wait(softmax.sum[0] + softmax.sum[1]);
      wgmma_wait<0>(out);
      release(shared.values_read(previous.stage));
      correct_output(out, softmax);
      pack_probabilities<T>(probabilities, scores);
    }
    const RingPlace previous(tile.num_steps - 1);
    barrier_wait(shared.values_full(previous.stage), previous.parity);
    wgmma_fence();
    start_output<T, kHeadDim>(out, probabilities, shared.values(previous.stage));
    wgmma_wait<0>(out);
    store(out, softmax);
  }

  // Threads of four hold 2 columns of each 8; they exchange so that each stores 8 columns of every
  // fourth group.
  __device__ void store(float (&out)[kHeadDim / 2], const Softmax& softmax) const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float sum = softmax.sum[r];
      sum += __shfl_xor_sync(0xffffffffU, sum, 1);
      sum += __shfl_xor_sync(0xffffffffU, sum, 2);
      const float inverse = 1.0F / sum;
      const int token_row = row() + 8 * r;
      const int64_t token = tile.first_token + token_row;
      T* to = static_cast<T*>(params.out) + token * params.out_stride +
              static_cast<int64_t>(blockIdx.x) * kHeadDim + lane() % 4 * 8;
#pragma unroll
      for (int group = 0; group < kHeadDim / 32; ++group) {
        uint32_t words[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const float* pair = out + 4 * (4 * group + j) + 2 * r;
          words[j] = pack(T{}, pair[0] * inverse, pair[1] * inverse);
        }
        transpose_by_four(words);
        if (token_row < tile.num_rows) {
          *reinterpret_cast<uint4*>(to + 32 * group) =
              make_uint4(words[0], words[1], words[2], words[3]);
        }
      }
    }
  }

  // words[j] of lane l goes to words[l] of lane j, in each four lanes.
  __device__ static void transpose_by_four(uint32_t (&words)[4]) {
#pragma unroll
    for (int distance = 1; distance <= 2; distance *= 2) {
      const bool upper = (lane() & distance) != 0;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if ((j & distance) != 0) continue;
        const uint32_t sent = upper ? words[j] : words[j + distance];
        const uint32_t received = __shfl_xor_sync(0xffffffffU, sent, distance);
        (upper ? words[j] : words[j + distance]) = received;
      }
    }
  }
};

template <typename T, int kHeadDim, bool kSoftcap>
__global__ void __launch_bounds__(Tiles<kHeadDim>::kThreads, 1)
    paged_attention_prefill_kernel(const __grid_constant__ PrefillParams params) {
  using Size = Tiles<kHeadDim>;
  extern __shared__ __align__(1024) unsigned char bytes[];
  allow_next_kernel();
  const SharedMemory<kHeadDim> shared{shared_address(bytes)};
  if (threadIdx.x == 0) {
    prefetch_map(params.q_map);
    prefetch_map(params.kv_map);
    barrier_init(shared.queries_full(), 1);
    for (int stage = 0; stage < kStages; ++stage) {
      barrier_init(shared.keys_full(stage), 1);
      barrier_init(shared.values_full(stage), 1);
      barrier_init(shared.keys_read(stage), 4 * Size::kConsumers);
      barrier_init(shared.values_read(stage), 4 * Size::kConsumers);
    }
    barrier_init_fence();
  }
  __syncthreads();
  wait_for_previous_kernel();
  const QueryTile tile = find_tile<kHeadDim>(params, blockIdx.y);
  if (tile.num_rows == 0) return;
  // The same in all threads of a warp, and the compiler shall know it.
  const int warpgroup = __shfl_sync(0xffffffffU, threadIdx.x / kWarpgroupThreads, 0);
  if (warpgroup == 0) {
    shrink_registers<Size::kProducerRegisters>();
    if (threadIdx.x < 32) produce<kHeadDim>(params, tile, shared);
  } else {
    grow_registers<Size::kConsumerRegisters>();
    Consumer<T, kHeadDim, kSoftcap>{params, tile, shared, warpgroup - 1}.run();
  }
}

bool is_aligned(const TensorView& view) {
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && view.row_stride % 8 == 0;
}

bool is_supported(const PrefillArgs& args) {
  const PagedAttentionArgs& attention = *args.attention;
  const KVCacheView& cache = attention.cache;
  const DType dtype = cache.dtype;
  if (cuda_properties().arch != 90 || dtype == DType::kF32) return false;
  if (attention.q.dtype != dtype || attention.out.dtype != dtype) return false;
  if (cache.block_size % 16 != 0 || attention.scale <= 0.0F) return false;
  const auto layer = reinterpret_cast<uintptr_t>(cache.arena + cache.layer_offset);
  return is_aligned(attention.q) && is_aligned(attention.out) && layer % 16 == 0 &&
         cache.block_bytes % 16 == 0;
}

template <int kHeadDim>
PrefillParams make_params(const PrefillArgs& args) {
  using Size = Tiles<kHeadDim>;
  const PagedAttentionArgs& attention = *args.attention;
  const AttentionBatch& batch = *attention.batch;
  const KVCacheView& cache = attention.cache;
  constexpr float kLog2E = 1.44269504F;
  PrefillParams params{};
  params.box_tokens = std::gcd(cache.block_size, Size::kKeys);
  TensorMapArgs<2> q;
  q.data = attention.q.data;
  q.sizes = {static_cast<uint64_t>(attention.num_heads) * kHeadDim,
             static_cast<uint64_t>(attention.q.rows())};
  q.strides = {static_cast<uint64_t>(attention.q.row_stride) * 2};
  q.box = {64, Size::kRows};
  params.q_map = tensor_map(q);
  const auto token_bytes = uint64_t{kHeadDim} * 2;
  const auto block_size = static_cast<uint64_t>(cache.block_size);
  TensorMapArgs<5> kv;
  kv.data = cache.arena + cache.layer_offset;
  // The number of blocks is not known here; of those asked for only -1 is outside.
  kv.sizes = {64, kGroupRows, Size::kPanels,
              2 * static_cast<uint64_t>(cache.num_kv_heads) * block_size / kGroupRows, 0x7fffffff};
  kv.strides = {token_bytes, kPanelBytes, kGroupRows * token_bytes,
                static_cast<uint64_t>(cache.block_bytes)};
  kv.box = {64, kGroupRows, Size::kPanels, static_cast<uint32_t>(params.box_tokens / kGroupRows),
            1};
  params.kv_map = tensor_map(kv);
  params.query_start_loc = batch.query_start_loc.as<int32_t>();
  params.seq_lens = batch.seq_lens.as<int32_t>();
  params.block_table = batch.block_table.as<int32_t>();
  params.block_table_stride = batch.block_table.row_stride;
  params.out = attention.out.data;
  params.out_stride = attention.out.row_stride;
  params.first_seq = args.first_seq;
  params.end_seq = args.first_seq + args.num_seqs;
  params.block_size = cache.block_size;
  params.num_kv_heads = cache.num_kv_heads;
  params.heads_per_kv_head = attention.num_heads / cache.num_kv_heads;
  params.sliding_window = attention.sliding_window;
  const bool capped = attention.softcap > 0.0F;
  params.cap_scale = capped ? 2.0F * kLog2E * attention.scale / attention.softcap : 0.0F;
  params.exp_scale = kLog2E * (capped ? attention.softcap : attention.scale);
  return params;
}

template <typename T, int kHeadDim>
void run(Stream& stream, const PrefillArgs& args) {
  using Size = Tiles<kHeadDim>;
  const PrefillParams params = make_params<kHeadDim>(args);
  const int num_tiles = args.num_tokens / Size::kRows + args.num_seqs;
  LaunchShape shape;
  shape.grid =
      dim3(static_cast<unsigned>(args.attention->num_heads), static_cast<unsigned>(num_tiles));
  shape.block = dim3(Size::kThreads);
  shape.shared_bytes = Size::kSharedBytes;
  auto* kernel = args.attention->softcap > 0.0F
                     ? paged_attention_prefill_kernel<T, kHeadDim, true>
                     : paged_attention_prefill_kernel<T, kHeadDim, false>;
  launch(stream, "paged_attention_prefill_sm90a", kernel, shape, params);
}

template <typename T>
bool run_by_head_dim(Stream& stream, const PrefillArgs& args) {
  switch (args.attention->cache.head_dim) {
    case 64:
      run<T, 64>(stream, args);
      return true;
    case 128:
      run<T, 128>(stream, args);
      return true;
    case 256:
      run<T, 256>(stream, args);
      return true;
    default:
      return false;
  }
}

}  // namespace

bool paged_attention_prefill_sm90a(Stream& stream, const PrefillArgs& args) {
  if (!is_supported(args)) return false;
  return args.attention->cache.dtype == DType::kF16 ? run_by_head_dim<Half>(stream, args)
                                                    : run_by_head_dim<BFloat16>(stream, args);
}

}  // namespace quire
