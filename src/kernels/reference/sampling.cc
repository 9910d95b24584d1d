#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "kernels/philox.h"
#include "kernels/reference/reference.h"

namespace quire::reference {
namespace {

int32_t argmax(const float* logits, int64_t vocab) {
  return static_cast<int32_t>(std::max_element(logits, logits + vocab) - logits);
}

// Token ids, most likely first, smaller id first among equals.
std::vector<int32_t> ranked(const float* logits, int64_t vocab) {
  std::vector<int32_t> ids(vocab);
  std::iota(ids.begin(), ids.end(), 0);
  std::sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
  });
  return ids;
}

// Standard Gumbel: -log(E) with E = -log(1 - u) exponential, u uniform in (0, 1).
double gumbel(uint32_t bits) {
  const double u = (static_cast<double>(bits) + 0.5) * 0x1p-32;
  return -std::log(-std::log1p(-u));
}

int32_t sample_row(const SampleArgs& args, int64_t row) {
  const int64_t vocab = args.logits.shape[1];
  float* logits = args.logits.row<float>(row);
  if (!can_draw({logits, static_cast<size_t>(vocab)})) return -1;
  const float temperature = args.temperature.as<float>()[row];
  if (temperature == 0.0F) return argmax(logits, vocab);
  for (int64_t i = 0; i < vocab; ++i) logits[i] /= temperature;

  std::vector<int32_t> ids = ranked(logits, vocab);
  const float max = logits[ids[0]];
  const float threshold = max + std::log(args.min_p.as<float>()[row]);  // -inf when off
  std::erase_if(ids, [&](int32_t id) { return logits[id] < threshold; });

  const auto top_k = static_cast<size_t>(args.top_k.as<int32_t>()[row]);
  if (top_k > 0 && top_k < ids.size()) {  // equals of the k-th stay
    const float smallest = logits[ids[top_k - 1]];
    std::erase_if(ids, [&](int32_t id) { return logits[id] < smallest; });
  }

  double total = 0.0;
  for (int32_t id : ids) total += std::exp(static_cast<double>(logits[id]) - max);
  const double mass = total * args.top_p.as<float>()[row];
  double before = 0.0;  // mass of the more likely tokens
  size_t kept = 0;
  while (kept < ids.size() && (kept == 0 || before < mass)) {
    before += std::exp(static_cast<double>(logits[ids[kept++]]) - max);
  }
  ids.resize(kept);

  const auto score = [&](int32_t id) {
    return logits[id] + gumbel(random_bits(args.seeds[row], args.positions[row], id));
  };
  return *std::max_element(ids.begin(), ids.end(),
                           [&](int32_t a, int32_t b) { return score(a) < score(b); });
}

// Row `index` of the arguments: each list in its turn.
void adjust_row(const AdjustLogitsArgs& args, int64_t index) {
  constexpr float kMasked = -std::numeric_limits<float>::infinity();
  float* logits = args.logits.row<float>(args.row_ids.as<int32_t>()[index]);
  const int64_t vocab = args.logits.shape[1];
  int32_t& could_draw = args.could_draw.as<int32_t>()[index];
  could_draw = can_draw({logits, static_cast<size_t>(vocab)}) ? 1 : 0;
  if (could_draw == 0) return;
  const int32_t* begin = args.list_begin.row<int32_t>(index);
  const int32_t* ids = args.token_ids.as<int32_t>();
  const float* values = args.values.as<float>();

  const std::span allowed(ids + begin[AdjustLogitsArgs::kAllowed],
                          ids + begin[AdjustLogitsArgs::kAllowed + 1]);
  if (!allowed.empty()) {
    std::vector<float> kept;
    for (const int32_t id : allowed) kept.push_back(logits[id]);
    std::fill_n(logits, vocab, kMasked);
    for (size_t i = 0; i < allowed.size(); ++i) logits[allowed[i]] = kept[i];
  }
  const auto for_each_of = [&](AdjustLogitsArgs::List list, auto change) {
    for (int32_t i = begin[list]; i < begin[list + 1]; ++i) change(logits[ids[i]], i);
  };
  for_each_of(AdjustLogitsArgs::kMasked, [](float& logit, int32_t) { logit = kMasked; });
  for_each_of(AdjustLogitsArgs::kBiased, [&](float& logit, int32_t i) { logit += values[i]; });
  const float repetition = args.repetition_penalty.as<float>()[index];
  for_each_of(AdjustLogitsArgs::kPenalized, [&](float& logit, int32_t i) {
    logit = logit > 0.0F ? logit / repetition : logit * repetition;
    logit -= args.frequency_penalty.as<float>()[index] * values[i];
    if (values[i] > 0.0F) logit -= args.presence_penalty.as<float>()[index];
  });
}

}  // namespace

void adjust_logits(Stream& stream, const AdjustLogitsArgs& args) {
  stream.pool().parallel_for(args.row_ids.rows(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) adjust_row(args, i);
  });
}

void sample(Stream&, const SampleArgs& args) {
  for (int64_t row = 0; row < args.logits.rows(); ++row) {
    args.out.as<int32_t>()[row] = sample_row(args, row);
  }
}

void logprobs(Stream&, const LogprobsArgs& args) {
  const int64_t vocab = args.logits.shape[1];
  for (int64_t row = 0; row < args.logits.rows(); ++row) {
    const float* logits = args.logits.row<float>(row);
    const std::vector<int32_t> ids = ranked(logits, vocab);
    const float max = logits[ids[0]];
    double sum = 0.0;
    for (int64_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(logits[i]) - max);
    const double log_sum = max + std::log(sum);

    const float own = logits[args.token_ids.as<int32_t>()[row]];
    args.logprob.as<float>()[row] = static_cast<float>(own - log_sum);
    args.rank.as<int32_t>()[row] =
        1 + static_cast<int32_t>(
                std::count_if(logits, logits + vocab, [&](float logit) { return logit > own; }));
    const int32_t num_top = args.num_top.as<int32_t>()[row];
    CHECK(num_top <= args.max_top && num_top <= vocab, "num_top ", num_top);
    for (int32_t i = 0; i < num_top; ++i) {
      args.top_ids.row<int32_t>(row)[i] = ids[i];
      args.top_logprobs.row<float>(row)[i] = static_cast<float>(logits[ids[i]] - log_sum);
    }
  }
}

}  // namespace quire::reference
