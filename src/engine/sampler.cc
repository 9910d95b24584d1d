#include "engine/sampler.h"

#include <algorithm>

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

bool needs_processing(const RequestRow& row) {
  return std::ranges::any_of(logits_processors(), [&](const LogitsProcessor& processor) {
    return processor.applies(row);
  });
}

// Inputs and results of one call of the logprobs kernel, in scratch memory of the device.
class LogprobsArrays {
 public:
  LogprobsArrays(Stream& stream, int64_t rows, int64_t max_top)
      : stream_(stream), scope_(stream.workspace()), max_top_(max_top) {
    const auto take = [&](Shape shape, DType dtype) {
      return TensorView(stream.workspace().take(shape.num_elements() * size_of(dtype)), shape,
                        dtype);
    };
    args_ = {.logits = {},
             .token_ids = take({rows}, DType::kI32),
             .num_top = take({rows}, DType::kI32),
             .max_top = static_cast<int>(max_top),
             .logprob = take({rows}, DType::kF32),
             .rank = take({rows}, DType::kI32),
             .top_ids = take({rows, max_top}, DType::kI32),
             .top_logprobs = take({rows, max_top}, DType::kF32)};
  }

  // token_ids, num_top: [rows].
  const LogprobsArgs& upload(const TensorView& logits, std::span<const int32_t> token_ids,
                             std::span<const int32_t> num_top) {
    args_.logits = logits;
    stream_.copy(args_.token_ids.data, token_ids.data(), std::ssize(token_ids) * kIdBytes);
    stream_.copy(args_.num_top.data, num_top.data(), std::ssize(num_top) * kIdBytes);
    return args_;
  }

  // Waits for the kernel.  to: [rows].
  void download(std::span<const int32_t> token_ids, std::span<const int32_t> num_top,
                std::span<TokenLogprobs> to) const {
    const auto logprob = fetch<float>(args_.logprob);
    const auto rank = fetch<int32_t>(args_.rank);
    const auto top_ids = fetch<int32_t>(args_.top_ids);
    const auto top_logprobs = fetch<float>(args_.top_logprobs);
    stream_.synchronize();
    for (size_t i = 0; i < to.size(); ++i) {
      const auto begin = static_cast<int64_t>(i) * max_top_;
      to[i] = {.token_id = token_ids[i],
               .logprob = logprob[i],
               .rank = rank[i],
               .top_ids = {top_ids.begin() + begin, top_ids.begin() + begin + num_top[i]},
               .top_logprobs = {top_logprobs.begin() + begin,
                                top_logprobs.begin() + begin + num_top[i]}};
    }
  }

 private:
  static constexpr int64_t kIdBytes = size_of(DType::kI32);

  template <typename T>
  std::vector<T> fetch(const TensorView& from) const {
    std::vector<T> to(static_cast<size_t>(from.shape.num_elements()));
    stream_.copy(to.data(), from.data, std::ssize(to) * static_cast<int64_t>(sizeof(T)));
    return to;
  }

  Stream& stream_;
  Workspace::Scope scope_;
  int64_t max_top_;
  LogprobsArgs args_;
};

// Space of the six parameters of each row.
int64_t parameter_bytes(int max_num_seqs) {
  return 4 * MirroredArena::space(max_num_seqs, DType::kF32) +
         2 * MirroredArena::space(2 * max_num_seqs, DType::kI32);
}

}  // namespace

int32_t resolve_num_top(int requested, int vocab_size) {
  return requested < 0 ? vocab_size : std::min(requested, vocab_size);
}

Sampler::Sampler(const KernelTable& kernels, int max_num_seqs, int vocab_size)
    : kernels_(kernels),
      vocab_size_(vocab_size),
      parameters_(*kernels.device, parameter_bytes(max_num_seqs)),
      temperature_(parameters_.take({max_num_seqs}, DType::kF32)),
      top_k_(parameters_.take({max_num_seqs}, DType::kI32)),
      top_p_(parameters_.take({max_num_seqs}, DType::kF32)),
      min_p_(parameters_.take({max_num_seqs}, DType::kF32)),
      seeds_(parameters_.take({max_num_seqs, 2}, DType::kI32)),
      positions_(parameters_.take({max_num_seqs, 2}, DType::kI32)),
      adjuster_(kernels),
      results_(*kernels.device, MirroredArena::space(max_num_seqs, DType::kI32)),
      sampled_(results_.take({max_num_seqs}, DType::kI32)) {
  reporting_.reserve(static_cast<size_t>(max_num_seqs));
}

void Sampler::sample(Stream& stream, const TensorView& logits,
                     std::span<const SamplingTarget> targets) {
  if (targets.empty()) return;
  keep_raw_logits(stream, logits, targets);
  process(stream, logits, targets);
  prepare(stream, targets);
  queue(stream, logits);
  stream.synchronize();
  find_masked_rows(targets);
  take_tokens(targets);
  report_logprobs(stream);
}

void Sampler::keep_raw_logits(Stream& stream, const TensorView& logits,
                              std::span<const SamplingTarget> targets) {
  reporting_.clear();
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!targets[i].row->params().logprobs) continue;
    if (raw_logits_.empty()) {
      raw_logits_ = Tensor({static_cast<int64_t>(reporting_.capacity()), vocab_size_}, DType::kF32,
                           *kernels_.device);
    }
    const auto packed = static_cast<int64_t>(reporting_.size());
    stream.copy(raw_logits_.view().row<float>(packed), logits.row<float>(static_cast<int64_t>(i)),
                vocab_size_ * size_of(DType::kF32));
    reporting_.push_back(targets[i]);
  }
}

void Sampler::process(Stream& stream, const TensorView& logits,
                      std::span<const SamplingTarget> targets) {
  adjuster_.clear();
  for (size_t i = 0; i < targets.size(); ++i) {
    if (needs_processing(*targets[i].row)) adjuster_.add(static_cast<int32_t>(i), *targets[i].row);
  }
  adjuster_.run(stream, logits);
}

// A row that had a token before it was adjusted, and has none after, masks them all.
void Sampler::find_masked_rows(std::span<const SamplingTarget> targets) {
  const std::span<const int32_t> rows = adjuster_.row_indices();
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto row = static_cast<size_t>(rows[i]);
    if (sampled_.host().as<int32_t>()[row] < 0 && adjuster_.could_draw()[i] != 0) {
      targets[row].output->failure = RowFailure::kEveryTokenMasked;
    }
  }
}

void Sampler::prepare(Stream& stream, std::span<const SamplingTarget> targets) {
  parameters_.flip();
  for (size_t i = 0; i < targets.size(); ++i) {
    const RequestRow& row = *targets[i].row;
    const SamplingParams& params = row.params();
    temperature_.host().as<float>()[i] = effective_temperature(params.temperature);
    top_k_.host().as<int32_t>()[i] = std::max(params.top_k, 0);
    top_p_.host().as<float>()[i] = params.top_p;
    min_p_.host().as<float>()[i] = params.min_p;
    seeds_.host().as<uint64_t>()[i] = row.request->seed;
    positions_.host().as<uint64_t>()[i] = static_cast<uint64_t>(row.num_tokens());
  }
  parameters_.upload(stream);
}

void Sampler::queue(Stream& stream, const TensorView& logits) {
  const int64_t rows = logits.rows();
  results_.flip();
  kernels_.sample(stream, {.logits = logits,
                           .temperature = temperature_.device().rows_view(0, rows),
                           .top_k = top_k_.device().rows_view(0, rows),
                           .top_p = top_p_.device().rows_view(0, rows),
                           .min_p = min_p_.device().rows_view(0, rows),
                           .seeds = seeds_.device().as<uint64_t>(),
                           .positions = positions_.device().as<uint64_t>(),
                           .out = sampled_.device().rows_view(0, rows)});
  results_.download(stream);
}

bool Sampler::can_queue(const RequestRow& row) {
  return !row.params().logprobs && !needs_processing(row);
}

std::span<const int32_t> Sampler::tokens(int slot) const {
  const TensorView sampled = sampled_.host(slot);
  return {sampled.as<const int32_t>(), static_cast<size_t>(sampled.rows())};
}

void report_token(int32_t token_id, RowOutput& output) {
  if (token_id < 0 && output.failure == RowFailure::kNone) output.failure = RowFailure::kCorrupted;
  if (output.failure == RowFailure::kNone) output.sampled_token_ids.push_back(token_id);
}

void Sampler::take_tokens(std::span<const SamplingTarget> targets) {
  for (size_t i = 0; i < targets.size(); ++i) {
    const int32_t token_id = sampled_.host().as<int32_t>()[i];
    targets[i].row->append(std::max(token_id, 0));
    report_token(token_id, *targets[i].output);
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
    const auto part = [&](auto all) {
      return all.subspan(static_cast<size_t>(begin), static_cast<size_t>(rows));
    };
    LogprobsArrays arrays(stream, rows, max_top);
    kernels_.logprobs(stream,
                      arrays.upload(logits.rows_view(begin, rows), part(token_ids), part(num_top)));
    arrays.download(part(token_ids), part(num_top), part(std::span(result)));
  }
  return result;
}

}  // namespace quire
