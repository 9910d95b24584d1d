#include "engine/warm_up.h"

#include <algorithm>
#include <ranges>
#include <utility>

#include "kernels/gemm_rows.h"

namespace quire {
namespace {

// On the CPU, enough to touch every weight and kernel; more would delay the first request for
// little.
constexpr int kCpuPromptTokens = 8;

// Requests of one step; the next step drops them.
class WarmUp {
 public:
  WarmUp(ModelRunner& runner, size_t num_groups) : runner_(runner), num_groups_(num_groups) {}

  // A step of `num_seqs` prompts of `num_tokens` tokens each, all of which are computed.
  void run(int num_seqs, int num_tokens) {
    auto step = std::make_shared<SchedulerOutput>();
    step->finished_ids = std::exchange(last_ids_, {});
    const int num_blocks = (num_tokens + kMinBlockSize - 1) / kMinBlockSize;
    const BlockIds null_blocks(num_groups_, std::vector<int32_t>(static_cast<size_t>(num_blocks)));
    for (int i = 0; i < num_seqs; ++i) {
      const auto id = static_cast<RequestId>(i);
      step->new_requests.push_back(
          {.id = id,
           .request = make_request(num_tokens),
           .adapter_place = nullptr,
           .output_token_ids = {}});
      step->rows.push_back({.id = id,
                            .num_computed_tokens = 0,
                            .num_scheduled_tokens = num_tokens,
                            .samples = true,
                            .new_block_ids = null_blocks});
      last_ids_.push_back(id);
    }
    step->total_num_scheduled_tokens = num_seqs * num_tokens;
    runner_.collect(runner_.launch(std::move(step)));
  }

  // Adds a token to each request of the last step.
  void decode(int num_tokens) {
    auto step = std::make_shared<SchedulerOutput>();
    for (const RequestId id : last_ids_) {
      step->rows.push_back({.id = id,
                            .num_computed_tokens = num_tokens,
                            .num_scheduled_tokens = 1,
                            .samples = true,
                            .new_block_ids = {}});
    }
    step->total_num_scheduled_tokens = static_cast<int>(last_ids_.size());
    runner_.collect(runner_.launch(std::move(step)));
  }

  void drop() {
    auto step = std::make_shared<SchedulerOutput>();
    step->finished_ids = std::exchange(last_ids_, {});
    runner_.collect(runner_.launch(std::move(step)));
  }

 private:
  static constexpr int kMinBlockSize = 16;

  static std::shared_ptr<const EngineRequest> make_request(int num_tokens) {
    auto request = std::make_shared<EngineRequest>();
    request->prompt_token_ids.assign(static_cast<size_t>(num_tokens), 0);
    request->params = std::make_shared<const SamplingParams>();
    request->max_tokens = 2;
    return request;
  }

  ModelRunner& runner_;
  size_t num_groups_;
  std::vector<RequestId> last_ids_;
};

}  // namespace

std::vector<int> warm_up_lengths(int longest, int most_decoded) {
  std::vector<int> lengths{longest};
  for (int length = longest - 1; length > most_decoded; --length) {
    if (rounded_rows(length) != rounded_rows(lengths.back())) lengths.push_back(length);
  }
  return lengths;
}

void warm_up(ModelRunner& runner, const InputBatchConfig& batch, size_t num_groups) {
  const int longest = std::min(batch.max_num_tokens, batch.max_model_len - 1);
  if (longest < 1) return;
  WarmUp steps(runner, num_groups);
  const std::vector<int> buckets = runner.decode_buckets();
  if (buckets.empty()) {
    const int num_tokens = std::min(kCpuPromptTokens, longest);
    steps.run(1, num_tokens);
    steps.decode(num_tokens);
    steps.drop();
    return;
  }
  for (const int num_tokens : warm_up_lengths(longest, buckets.back())) steps.run(1, num_tokens);
  for (const int bucket : buckets | std::views::reverse) steps.run(bucket, 1);
  steps.drop();
}

}  // namespace quire
