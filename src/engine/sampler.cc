#include "engine/sampler.h"

#include <algorithm>
#include <bit>

#include "engine/logits_processors.h"

namespace quire {
namespace {

// Temperatures other than 0, which is greedy, are raised to this, where the softmax is a step
// already.
constexpr float kMinTemperature = 1e-2F;
// Bounds the scratch of one call of the logprobs kernel: 32 rows of a 128 k vocabulary, 32 MiB.
constexpr int64_t kMaxTopEntries = 1 << 22;

float effective_temperature(float temperature) {
  return temperature == 0.0F ? 0.0F : std::max(temperature, kMinTemperature);
}

template <typename T>
T* take(Workspace& workspace, int64_t count) {
  return static_cast<T*>(workspace.take(count * static_cast<int64_t>(sizeof(T))));
}

// Calls body(i) for each of `count` rows, shared out to the threads.
template <typename Body>
void for_each_row(Stream& stream, size_t count, const Body& body) {
  stream.pool().parallel_for(static_cast<int64_t>(count), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) body(static_cast<size_t>(i));
  });
}

bool needs_processing(const SamplingTarget& target) {
  return std::ranges::any_of(logits_processors(), [&](const LogitsProcessor& processor) {
    return processor.applies(*target.row);
  });
}

}  // namespace

// On the bits, so that the loop has no branch and no order of summation, and fills the vectors.
bool can_draw(std::span<const float> logits) {
  constexpr uint32_t kExponent = 0x7f800000U;  // of infinities and NaN; below it, finite
  constexpr uint32_t kMinusInfinity = 0xff800000U;
  uint32_t num_finite = 0;
  uint32_t num_bad = 0;
  for (const float logit : logits) {
    const auto bits = std::bit_cast<uint32_t>(logit);
    const bool finite = (bits & kExponent) != kExponent;
    num_finite += finite ? 1 : 0;
    num_bad += !finite && bits != kMinusInfinity ? 1 : 0;
  }
  return num_finite > 0 && num_bad == 0;
}

int32_t resolve_num_top(int requested, int vocab_size) {
  return requested < 0 ? vocab_size : std::min(requested, vocab_size);
}

Sampler::Sampler(const KernelTable& kernels, int max_num_seqs, int vocab_size)
    : kernels_(kernels),
      vocab_size_(vocab_size),
      temperature_({max_num_seqs}, DType::kF32),
      top_k_({max_num_seqs}, DType::kI32),
      top_p_({max_num_seqs}, DType::kF32),
      min_p_({max_num_seqs}, DType::kF32),
      sampled_({max_num_seqs}, DType::kI32),
      seeds_(static_cast<size_t>(max_num_seqs)),
      positions_(static_cast<size_t>(max_num_seqs)),
      raw_logits_({max_num_seqs, vocab_size}, DType::kF32) {
  reporting_.reserve(static_cast<size_t>(max_num_seqs));
}

void Sampler::sample(Stream& stream, const TensorView& logits,
                     std::span<const SamplingTarget> targets) {
  if (targets.empty()) return;
  check(stream, logits, targets);
  keep_raw_logits(logits, targets);
  process(stream, logits, targets);
  draw(stream, logits, targets);
  report_logprobs(stream);
}

void Sampler::check(Stream& stream, const TensorView& logits,
                    std::span<const SamplingTarget> targets) const {
  for_each_row(stream, targets.size(), [&](size_t i) {
    const std::span<float> row = row_of(logits, i);
    if (can_draw(row)) return;
    targets[i].output->failure = RowFailure::kCorrupted;
    std::ranges::fill(row, 0.0F);
  });
}

void Sampler::keep_raw_logits(const TensorView& logits, std::span<const SamplingTarget> targets) {
  reporting_.clear();
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!targets[i].row->params().logprobs) continue;
    const auto packed = static_cast<int64_t>(reporting_.size());
    std::ranges::copy(row_of(logits, i), raw_logits_.view().row<float>(packed));
    reporting_.push_back(targets[i]);
  }
}

void Sampler::process(Stream& stream, const TensorView& logits,
                      std::span<const SamplingTarget> targets) const {
  if (std::ranges::none_of(targets, needs_processing)) return;
  for_each_row(stream, targets.size(), [&](size_t i) {
    const SamplingTarget& target = targets[i];
    if (!needs_processing(target)) return;
    const std::span<float> row = row_of(logits, i);
    for (const LogitsProcessor& processor : logits_processors()) {
      if (processor.applies(*target.row)) processor.apply(*target.row, row);
    }
    if (can_draw(row)) return;
    if (target.output->failure == RowFailure::kNone)
      target.output->failure = RowFailure::kEveryTokenMasked;
    std::ranges::fill(row, 0.0F);
  });
}

void Sampler::draw(Stream& stream, const TensorView& logits,
                   std::span<const SamplingTarget> targets) {
  const auto rows = static_cast<int64_t>(targets.size());
  for (size_t i = 0; i < targets.size(); ++i) {
    const RequestRow& row = *targets[i].row;
    const SamplingParams& params = row.params();
    temperature_.view().as<float>()[i] = effective_temperature(params.temperature);
    top_k_.view().as<int32_t>()[i] = std::max(params.top_k, 0);
    top_p_.view().as<float>()[i] = params.top_p;
    min_p_.view().as<float>()[i] = params.min_p;
    seeds_[i] = row.request->seed;
    positions_[i] = row.token_ids.size();
  }
  kernels_.sample(stream, {.logits = logits.rows_view(0, rows),
                           .temperature = temperature_.view().rows_view(0, rows),
                           .top_k = top_k_.view().rows_view(0, rows),
                           .top_p = top_p_.view().rows_view(0, rows),
                           .min_p = min_p_.view().rows_view(0, rows),
                           .seeds = seeds_.data(),
                           .positions = positions_.data(),
                           .out = sampled_.view().rows_view(0, rows)});
  for (size_t i = 0; i < targets.size(); ++i) {
    int32_t token_id = sampled_.view().as<int32_t>()[i];
    RowOutput& output = *targets[i].output;
    if (token_id < 0 || token_id >= vocab_size_) {
      output.failure = RowFailure::kCorrupted;
      token_id = 0;
    }
    targets[i].row->append(token_id);
    if (output.failure == RowFailure::kNone) output.sampled_token_ids.push_back(token_id);
  }
}

void Sampler::report_logprobs(Stream& stream) {
  if (reporting_.empty()) return;
  std::vector<int32_t> token_ids;
  std::vector<int32_t> num_top;
  token_ids.reserve(reporting_.size());
  num_top.reserve(reporting_.size());
  for (const SamplingTarget& target : reporting_) {
    token_ids.push_back(target.row->token_ids.back());
    num_top.push_back(resolve_num_top(*target.row->params().logprobs, vocab_size_));
  }
  std::vector<TokenLogprobs> result = logprobs(stream, raw_logits_.view(), token_ids, num_top);
  for (size_t i = 0; i < reporting_.size(); ++i) {
    reporting_[i].output->logprobs.push_back(std::move(result[i]));
  }
}

std::vector<TokenLogprobs> Sampler::logprobs(Stream& stream, const TensorView& logits,
                                             std::span<const int32_t> token_ids,
                                             std::span<const int32_t> num_top) const {
  const int64_t max_top = *std::ranges::max_element(num_top);
  const int64_t max_rows = std::max<int64_t>(1, kMaxTopEntries / std::max<int64_t>(1, max_top));
  std::vector<TokenLogprobs> result(token_ids.size());
  for (int64_t begin = 0; begin < std::ssize(token_ids); begin += max_rows) {
    const int64_t rows = std::min<int64_t>(max_rows, std::ssize(token_ids) - begin);
    const Workspace::Scope scope(stream.workspace());
    Workspace& workspace = stream.workspace();
    auto* ids = take<int32_t>(workspace, rows);
    auto* tops = take<int32_t>(workspace, rows);
    auto* logprob = take<float>(workspace, rows);
    auto* rank = take<int32_t>(workspace, rows);
    auto* top_ids = take<int32_t>(workspace, rows * max_top);
    auto* top_logprobs = take<float>(workspace, rows * max_top);
    std::copy_n(token_ids.begin() + begin, rows, ids);
    std::copy_n(num_top.begin() + begin, rows, tops);
    kernels_.logprobs(stream,
                      {.logits = logits.rows_view(begin, rows),
                       .token_ids = TensorView(ids, {rows}, DType::kI32),
                       .num_top = TensorView(tops, {rows}, DType::kI32),
                       .max_top = static_cast<int>(max_top),
                       .logprob = TensorView(logprob, {rows}, DType::kF32),
                       .rank = TensorView(rank, {rows}, DType::kI32),
                       .top_ids = TensorView(top_ids, {rows, max_top}, DType::kI32),
                       .top_logprobs = TensorView(top_logprobs, {rows, max_top}, DType::kF32)});
    for (int64_t i = 0; i < rows; ++i) {
      TokenLogprobs& out = result[static_cast<size_t>(begin + i)];
      out.token_id = ids[i];
      out.logprob = logprob[i];
      out.rank = rank[i];
      out.top_ids.assign(top_ids + i * max_top, top_ids + i * max_top + tops[i]);
      out.top_logprobs.assign(top_logprobs + i * max_top, top_logprobs + i * max_top + tops[i]);
    }
  }
  return result;
}

}  // namespace quire
