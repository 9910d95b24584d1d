// Sampling and log-probabilities; rows are shared out to the threads.
//
// The candidates left by min_p, top_k and top_p are a prefix of the tokens in order of likelihood.
// The prefix is found without a sort of the vocabulary: tokens are counted in bins of equal width
// below the largest logit, whole bins are taken while they fit, and only the bin at the border is
// sorted.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/generic/math.h"
#include "kernels/cpu/rows.h"
#include "kernels/philox.h"
#include "kernels/sampling.h"

namespace quire {

template <class V>
struct Sampling {
  using F = typename V::F;
  static constexpr float kInfinity = std::numeric_limits<float>::infinity();

  static float max_of(const float* x, int64_t size) {
    F max = V::set1(-kInfinity);
    int64_t i = 0;
    for (; i + V::kLanes <= size; i += V::kLanes) max = V::max(max, V::load(x + i));
    float result = V::reduce_max(max);
    for (; i < size; ++i) result = std::max(result, x[i]);
    return result;
  }

  // Sum of exp(x - max) in an order that depends on size only; double across blocks of kBlock.
  static double sum_exp(const float* x, int64_t size, float max) {
    constexpr int64_t kBlock = 1024;
    const F shift = V::set1(max);
    double total = 0.0;
    for (int64_t begin = 0; begin < size; begin += kBlock) {
      const int64_t end = std::min(size, begin + kBlock);
      F sum = V::zero();
      for (int64_t i = begin; i < end; i += V::kLanes) {
        const int64_t n = end - i;
        const F e = Math<V>::exp(V::sub(V::load_n(x + i, n), shift));
        sum = V::add(sum, V::select(V::mask_between(0, n), e, V::zero()));
      }
      total += V::reduce_add(sum);
    }
    return total;
  }

  // Token 0 if there are NaNs: the result is a token whatever the model computed.
  static int32_t argmax(const float* x, int64_t size) {
    const float* at = std::find(x, x + size, max_of(x, size));
    return at == x + size ? 0 : static_cast<int32_t>(at - x);
  }

  // Scratch memory of one row.
  struct Scratch {
    static constexpr int kNumBins = 2048;
    int32_t* counts;  // [kNumBins]
    double* masses;   // [kNumBins]
    int32_t* ids;     // [vocab]
  };
  static constexpr int64_t kNoiseBlock = 512;

  static int bin_of(float logit, float max) {
    constexpr float kBinsPerNat = 64.0F;
    const float distance = (max - logit) * kBinsPerNat;
    return distance < Scratch::kNumBins - 1 ? static_cast<int>(distance) : Scratch::kNumBins - 1;
  }

  // How many of the most likely tokens are kept, by number or by mass.
  struct Prefix {
    float smallest = -kInfinity;  // least logit kept
    int32_t last_id = INT32_MAX;  // of the tokens with that logit, those up to this id are kept
    bool keeps(float logit, int64_t id) const {
      return logit > smallest || (logit == smallest && id <= last_id);
    }
    // The stronger of two.
    static Prefix both(const Prefix& a, const Prefix& b) {
      if (a.smallest != b.smallest) return a.smallest > b.smallest ? a : b;
      return a.last_id < b.last_id ? a : b;
    }
  };

  // Sorts the tokens of `bin` that `within` keeps: most likely first, smaller id first among
  // equals.
  static int64_t sort_bin(const float* x, int64_t size, float max, int bin, const Prefix& within,
                          int32_t* ids) {
    int64_t count = 0;
    for (int64_t i = 0; i < size; ++i) {
      if (within.keeps(x[i], i) && bin_of(x[i], max) == bin) ids[count++] = static_cast<int32_t>(i);
    }
    std::sort(ids, ids + count,
              [&](int32_t a, int32_t b) { return x[a] > x[b] || (x[a] == x[b] && a < b); });
    return count;
  }

  static void fill_bins(const float* x, int64_t size, float max, const Prefix& within,
                        const Scratch& scratch) {
    std::fill_n(scratch.counts, Scratch::kNumBins, 0);
    std::fill_n(scratch.masses, Scratch::kNumBins, 0.0);
    float weights[kNoiseBlock];
    for (int64_t begin = 0; begin < size; begin += kNoiseBlock) {
      const int64_t count = std::min(size - begin, kNoiseBlock);
      if (max_of(x + begin, count) < within.smallest) continue;
      for (int64_t i = 0; i < count; i += V::kLanes) {
        const int64_t n = count - i;
        const F distance = V::sub(V::load_n(x + begin + i, n), V::set1(max));
        V::store_n(weights + i, Math<V>::exp_below_max(distance), n);
      }
      for (int64_t i = 0; i < count; ++i) {
        const float logit = x[begin + i];
        if (!within.keeps(logit, begin + i)) continue;
        const int bin = bin_of(logit, max);
        ++scratch.counts[bin];
        scratch.masses[bin] += static_cast<double>(weights[i]);
      }
    }
  }

  // The top_k most likely tokens and the equals of the last of them.
  static Prefix top_k_prefix(const float* x, int64_t size, float max, int64_t top_k,
                             const Prefix& within, const Scratch& scratch) {
    fill_bins(x, size, max, within, scratch);
    int64_t before = 0;
    for (int bin = 0; bin < Scratch::kNumBins; ++bin) {
      if (before + scratch.counts[bin] < top_k) {
        before += scratch.counts[bin];
        continue;
      }
      sort_bin(x, size, max, bin, within, scratch.ids);
      return {.smallest = x[scratch.ids[top_k - before - 1]], .last_id = INT32_MAX};
    }
    return within;
  }

  // The fewest most likely tokens of `within` that have the fraction top_p of its probability.
  static Prefix top_p_prefix(const float* x, int64_t size, float max, float top_p,
                             const Prefix& within, const Scratch& scratch) {
    fill_bins(x, size, max, within, scratch);
    double total = 0.0;
    for (int bin = 0; bin < Scratch::kNumBins; ++bin) total += scratch.masses[bin];
    const double mass = total * top_p;
    double before = 0.0;
    for (int bin = 0; bin < Scratch::kNumBins; ++bin) {
      if (before + scratch.masses[bin] < mass) {
        before += scratch.masses[bin];
        continue;
      }
      const int64_t count = sort_bin(x, size, max, bin, within, scratch.ids);
      for (int64_t i = 0; i < count; ++i) {
        const int32_t id = scratch.ids[i];
        before += static_cast<double>(std::exp(x[id] - max));
        if (before >= mass || i + 1 == count) return {.smallest = x[id], .last_id = id};
      }
    }
    return within;
  }

  // Words of Philox4x32-10 for counters (first + i, 0, position), i < kCounters; see random_bits().
  static constexpr int kCounters = kNoiseBlock / 4;
  struct Words {
    uint32_t word[4][kCounters];
  };
  static void philox(uint64_t seed, uint64_t position, int64_t first, Words& words) {
    auto& w = words.word;
    for (int i = 0; i < kCounters; ++i) {
      w[0][i] = static_cast<uint32_t>(first + i);
      w[1][i] = 0;
      w[2][i] = static_cast<uint32_t>(position);
      w[3][i] = static_cast<uint32_t>(position >> 32);
    }
    uint32_t key0 = static_cast<uint32_t>(seed);
    uint32_t key1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < kCounters; ++i) {
        const uint64_t product0 = uint64_t{0xD2511F53U} * w[0][i];
        const uint64_t product1 = uint64_t{0xCD9E8D57U} * w[2][i];
        w[0][i] = static_cast<uint32_t>(product1 >> 32) ^ w[1][i] ^ key0;
        w[1][i] = static_cast<uint32_t>(product1);
        w[2][i] = static_cast<uint32_t>(product0 >> 32) ^ w[3][i] ^ key1;
        w[3][i] = static_cast<uint32_t>(product0);
      }
      key0 += 0x9E3779B9U;
      key1 += 0xBB67AE85U;
    }
  }

  // Standard Gumbel numbers of tokens [begin, begin + kNoiseBlock): -log(-log(1 - u)), u in (0, 1).
  static void fill_noise(uint64_t seed, uint64_t position, int64_t begin, float* noise) {
    Words words;
    philox(seed, position, begin / 4, words);
    for (int i = 0; i < kCounters; ++i) {
      for (int j = 0; j < 4; ++j) {
        noise[4 * i + j] = (static_cast<float>(words.word[j][i]) + 0.5F) * 0x1p-32F;
      }
    }
    for (int64_t i = 0; i < kNoiseBlock; i += V::kLanes) {
      const F u = V::min(V::load(noise + i), V::set1(1.0F - 0x1p-24F));
      const F exponential = V::sub(V::zero(), Math<V>::log1p(V::sub(V::zero(), u)));
      V::store(noise + i, V::sub(V::zero(), Math<V>::log(exponential)));
    }
  }

  // Gumbel-max over the tokens that `prefix` keeps; the smallest id among equals.
  static int32_t draw(const float* x, int64_t size, const Prefix& prefix, uint64_t seed,
                      uint64_t position) {
    float noise[kNoiseBlock];
    float best = -kInfinity;
    int64_t best_id = 0;
    for (int64_t begin = 0; begin < size; begin += kNoiseBlock) {
      const int64_t end = std::min(size, begin + kNoiseBlock);
      if (max_of(x + begin, end - begin) < prefix.smallest) continue;
      fill_noise(seed, position, begin, noise);
      for (int64_t i = begin; i < end; ++i) {
        const float score = x[i] + noise[i - begin];
        if (score > best && prefix.keeps(x[i], i)) {
          best = score;
          best_id = i;
        }
      }
    }
    return static_cast<int32_t>(best_id);
  }

  static int32_t sample_row(const SampleArgs& args, int64_t row, const Scratch& scratch) {
    const int64_t size = args.logits.shape[1];
    float* x = args.logits.row<float>(row);
    if (!can_draw({x, static_cast<size_t>(size)})) return -1;
    const float temperature = args.temperature.as<float>()[row];
    if (temperature == 0.0F) return argmax(x, size);
    for (int64_t i = 0; i < size; ++i) x[i] /= temperature;
    const float max = max_of(x, size);
    Prefix prefix;
    const float min_p = args.min_p.as<float>()[row];
    if (min_p > 0.0F) prefix.smallest = max + std::log(min_p);
    const int32_t top_k = args.top_k.as<int32_t>()[row];
    if (top_k > 0 && top_k < size) {
      prefix = Prefix::both(prefix, top_k_prefix(x, size, max, top_k, prefix, scratch));
    }
    const float top_p = args.top_p.as<float>()[row];
    if (top_p < 1.0F) prefix = top_p_prefix(x, size, max, top_p, prefix, scratch);
    return draw(x, size, prefix, args.seeds[row], args.positions[row]);
  }

  static void sample(Stream& stream, const SampleArgs& args) {
    const Workspace::Scope scope(stream.workspace());
    const int64_t rows = args.logits.rows();
    const int64_t vocab = args.logits.shape[1];
    const int64_t scratch_bytes = round_up(
        Scratch::kNumBins * static_cast<int64_t>(sizeof(int32_t) + sizeof(double)) + vocab * 4, 64);
    const int num_threads = stream.pool().num_threads();
    auto* memory = static_cast<std::byte*>(stream.workspace().take(num_threads * scratch_bytes));
    const auto sample_rows = [&](int64_t begin, int64_t end, std::byte* at) {
      Scratch scratch;
      scratch.masses = reinterpret_cast<double*>(at);
      scratch.counts = reinterpret_cast<int32_t*>(scratch.masses + Scratch::kNumBins);
      scratch.ids = scratch.counts + Scratch::kNumBins;
      for (int64_t row = begin; row < end; ++row) {
        args.out.as<int32_t>()[row] = sample_row(args, row, scratch);
      }
    };
    if (rows == 1) return sample_rows(0, 1, memory);
    stream.pool().run([&](int thread) {
      sample_rows(rows * thread / num_threads, rows * (thread + 1) / num_threads,
                  memory + thread * scratch_bytes);
    });
  }

  static void logprobs_row(const LogprobsArgs& args, int64_t row, int32_t* ids) {
    const int64_t size = args.logits.shape[1];
    const float* x = args.logits.row<float>(row);
    const float max = max_of(x, size);
    const float log_sum = static_cast<float>(std::log(sum_exp(x, size, max)));
    const auto logprob = [&](int64_t id) { return (x[id] - max) - log_sum; };
    const int32_t token = args.token_ids.as<int32_t>()[row];
    CHECK(token >= 0 && token < size, "token ", token, " of ", size);
    int32_t rank = 1;
    for (int64_t i = 0; i < size; ++i) rank += x[i] > x[token] ? 1 : 0;
    args.logprob.as<float>()[row] = logprob(token);
    args.rank.as<int32_t>()[row] = rank;

    const int32_t num_top = args.num_top.as<int32_t>()[row];
    CHECK(num_top <= args.max_top && num_top <= size, "num_top ", num_top);
    if (num_top == 0) return;
    const auto more_likely = [x](int32_t a, int32_t b) {
      return x[a] > x[b] || (x[a] == x[b] && a < b);
    };
    // A heap of the num_top best so far, the least likely of them at its root.
    for (int32_t i = 0; i < num_top; ++i) ids[i] = i;
    std::make_heap(ids, ids + num_top, more_likely);
    for (int64_t i = num_top; i < size; ++i) {
      if (!(x[i] > x[ids[0]])) continue;
      std::pop_heap(ids, ids + num_top, more_likely);
      ids[num_top - 1] = static_cast<int32_t>(i);
      std::push_heap(ids, ids + num_top, more_likely);
    }
    std::sort_heap(ids, ids + num_top, more_likely);
    for (int32_t i = 0; i < num_top; ++i) {
      args.top_ids.row<int32_t>(row)[i] = ids[i];
      args.top_logprobs.row<float>(row)[i] = logprob(ids[i]);
    }
  }

  static void logprobs(Stream& stream, const LogprobsArgs& args) {
    const Workspace::Scope scope(stream.workspace());
    const int64_t rows = args.logits.rows();
    const int64_t ids_size = round_up(std::max(args.max_top, 1), 16);
    auto* ids = static_cast<int32_t*>(
        stream.workspace().take(rows * ids_size * static_cast<int64_t>(sizeof(int32_t))));
    for_rows(stream, rows, args.logits.shape[1], [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) logprobs_row(args, row, ids + row * ids_size);
    });
  }
};

}  // namespace quire
