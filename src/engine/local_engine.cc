#include "engine/local_engine.h"

#include <algorithm>
#include <utility>

namespace quire {
namespace {

// Enough to touch every weight and kernel; more would delay the first request for little.
constexpr int kWarmUpTokens = 8;

// Runs a prefill and a decode step of a made-up request.  Its keys and values go to the null block,
// which nothing reads.
void warm_up(ModelRunner& runner, const LocalEngineParts& parts) {
  const int num_tokens = std::min(kWarmUpTokens, parts.executor.batch.max_model_len - 1);
  if (num_tokens < 1) return;
  auto request = std::make_shared<EngineRequest>();
  request->prompt_token_ids.assign(static_cast<size_t>(num_tokens), 0);
  request->params = std::make_shared<const SamplingParams>();
  request->max_tokens = 2;
  const BlockIds null_blocks(parts.scheduler.kv_cache_spec.groups.size(), {0});

  auto prefill = std::make_shared<SchedulerOutput>();
  prefill->new_requests = {{.id = 0, .request = request, .output_token_ids = {}}};
  prefill->rows = {{.id = 0,
                    .num_computed_tokens = 0,
                    .num_scheduled_tokens = num_tokens,
                    .samples = true,
                    .new_block_ids = null_blocks}};
  prefill->total_num_scheduled_tokens = num_tokens;
  auto decode = std::make_shared<SchedulerOutput>();
  decode->rows = {{.id = 0,
                   .num_computed_tokens = num_tokens,
                   .num_scheduled_tokens = 1,
                   .samples = true,
                   .new_block_ids = {}}};
  decode->total_num_scheduled_tokens = 1;
  auto drop = std::make_shared<SchedulerOutput>();
  drop->finished_ids = {0};
  for (const std::shared_ptr<SchedulerOutput>& step : {prefill, decode, drop}) {
    runner.collect(runner.launch(step));
  }
}

}  // namespace

LocalEngine::LocalEngine(LocalEngineParts parts)
    : parts_(std::move(parts)),
      scheduler_(parts_.scheduler),
      runner_(std::make_unique<StepExecutor>(parts_.executor, *parts_.model, *parts_.kernels,
                                             parts_.device->stream)),
      core_(parts_.core, scheduler_, runner_) {
  warm_up(runner_, parts_);
  thread_ = std::thread([this] { core_.run(); });
}

LocalEngine::~LocalEngine() {
  core_.stop();
  thread_.join();
}

}  // namespace quire
