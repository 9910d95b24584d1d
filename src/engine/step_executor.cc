#include "engine/step_executor.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <utility>

#include "engine/lora_adapter.h"

namespace quire {
namespace {

// Prompt positions whose logits are held at once, which bounds their memory for long prompts.
constexpr int kMaxPromptLogprobRows = 64;

int max_logit_rows(const InputBatchConfig& config) {
  return std::max(config.max_num_seqs, kMaxPromptLogprobRows);
}

}  // namespace

StepExecutor::StepExecutor(const StepExecutorConfig& config, Model& model,
                           const KernelTable& kernels, Stream& stream)
    : model_(model),
      kernels_(kernels),
      stream_(stream),
      activation_dtype_(kernels.activations_have_weight_dtype ? config.dtype : DType::kF32),
      arena_(config.num_blocks * config.kv_cache_spec.block_bytes, *kernels.device),
      batch_(config.batch, config.kv_cache_spec,
             make_forward_layers(config.kv_cache_spec, model.attention_layers(), config.dtype,
                                 arena_.data()),
             *kernels.device),
      sampler_(kernels, config.batch.max_num_seqs, model.vocab_size()),
      hidden_({config.batch.max_num_tokens, model.hidden_size()}, DType::kF32, *kernels.device),
      gathered_hidden_({max_logit_rows(config.batch), model.hidden_size()}, activation_dtype_,
                       *kernels.device),
      logits_({max_logit_rows(config.batch), model.vocab_size()}, DType::kF32, *kernels.device),
      logit_indices_arena_(*kernels.device,
                           MirroredArena::space(max_logit_rows(config.batch), DType::kI32)),
      logit_indices_(logit_indices_arena_.take({max_logit_rows(config.batch)}, DType::kI32)),
      decode_rows_({max_logit_rows(config.batch)}, DType::kI32, *kernels.device),
      graphs_(stream, std::min(config.batch.max_num_seqs, config.batch.max_num_tokens)) {
  auto* rows = logit_indices_.host().as<int32_t>();
  std::iota(rows, rows + logit_indices_.host().rows(), 0);
  stream.copy(decode_rows_.view().data, rows, decode_rows_.num_bytes());
  stream.synchronize();
  if (config.max_lora_rank > 0) {
    adapters_ = std::make_unique<AdapterBatch>(
        AdapterBatchConfig{.max_num_tokens = config.batch.max_num_tokens,
                           .max_num_seqs = config.batch.max_num_seqs,
                           .max_rank = config.max_lora_rank,
                           .arena = arena_.data(),
                           .block_bytes = config.kv_cache_spec.block_bytes,
                           .dtype = config.dtype},
        *kernels.device);
    adapter_graphs_ = std::make_unique<GraphRunner>(
        stream, std::min(config.batch.max_num_seqs, config.batch.max_num_tokens));
    if (!kernels.device->is_host()) {
      loader_ = std::make_unique<AdapterLoader>(stream, arena_.data(), config.num_lora_targets);
    }
  }
  step_rows_.reserve(static_cast<size_t>(config.batch.max_num_seqs));
  targets_.reserve(static_cast<size_t>(config.batch.max_num_seqs));
}

std::vector<int> StepExecutor::decode_buckets() const {
  std::vector<int> buckets;
  for (const auto& [bucket, graph] : graphs_.buckets()) buckets.push_back(bucket);
  return buckets;
}

void StepExecutor::launch(const SchedulerOutput& step, std::shared_ptr<StepInFlight> flight) {
  // The step before may still run; the one before that has been collected.
  absorb_tokens(1);
  rows_.apply(step);
  ModelRunnerOutput& output = flight->output_;
  output.step_id = step.step_id;
  if (step.empty()) return;
  step_rows_.clear();
  targets_.clear();
  output.rows.resize(step.rows.size());
  for (size_t i = 0; i < step.rows.size(); ++i) {
    step_rows_.push_back(&rows_.at(step.rows[i].id));
    output.rows[i].id = step.rows[i].id;
    if (step.rows[i].samples) targets_.push_back({step_rows_[i], &output.rows[i]});
  }
  const bool queues = can_queue();
  if (!queues) {
    absorb_tokens(0);
  } else if (!targets_.empty()) {
    sampler_.prepare(stream_, targets_);
  }
  batch_.build(step, step_rows_);
  const bool has_adapters = adapters_ != nullptr && adapters_->build(step, step_rows_);
  const TensorView logits = is_plain_decode(step) ? run_decode(step, has_adapters)
                                                  : run_model(step, has_adapters, output);
  if (queues) {
    queue_sampling(step, logits, *flight);
    in_flight_.push_back(std::move(flight));
  } else {
    sampler_.sample(stream_, logits, targets_);
    stream_.synchronize();  // a step without targets, too, ends before its inputs are overwritten
  }
}

void StepExecutor::load_adapters(std::span<const AdapterLoad> loads) {
  if (loader_ == nullptr) {
    for (const AdapterLoad& load : loads) {
      load.weights->load_on_host(stream_.pool(), arena_.data(), *load.place);
    }
  } else if (in_flight_.empty()) {
    loader_->load(loads, nullptr);
  } else {
    const StepInFlight& last = *in_flight_.back();
    const AdapterLoader::Running running{.step_id = last.output_.step_id, .event = last.event_};
    loader_->load(loads, &running);
  }
}

bool StepExecutor::can_queue() const {
  return !stream_.device().is_host() && std::ranges::all_of(step_rows_, [](const RequestRow* row) {
    return Sampler::can_queue(*row) && !row->params().prompt_logprobs;
  });
}

void StepExecutor::queue_sampling(const SchedulerOutput& step, const TensorView& logits,
                                  StepInFlight& flight) {
  if (!targets_.empty()) sampler_.queue(stream_, logits);
  flight.results_slot_ = sampler_.results_slot();
  flight.number_ = ++num_queued_;
  for (size_t i = 0; i < step.rows.size(); ++i) {
    if (!step.rows[i].samples) continue;
    step_rows_[i]->index_in_flight = static_cast<int32_t>(flight.targets_.size());
    step_rows_[i]->step_in_flight = flight.number_;
    flight.targets_.push_back({step.rows[i].id, step_rows_[i]->generation, i});
  }
  flight.device_ = &stream_.device();
  flight.event_ = flight.device_->create_event();
  flight.device_->record_event(stream_.queue(), flight.event_);
}

void StepExecutor::absorb_tokens(size_t num_left) {
  for (; in_flight_.size() > num_left; in_flight_.pop_front()) {
    const StepInFlight& flight = *in_flight_.front();
    flight.device_->wait_event(flight.event_);
    const std::span<const int32_t> tokens = sampler_.tokens(flight.results_slot_);
    for (size_t i = 0; i < flight.targets_.size(); ++i) {
      RequestRow* row = rows_.find(flight.targets_[i].id);
      if (row == nullptr || row->generation != flight.targets_[i].row_generation) continue;
      row->append(std::max(tokens[i], 0));
      if (row->step_in_flight == flight.number_) row->index_in_flight = -1;
    }
  }
}

ModelRunnerOutput StepExecutor::collect(StepInFlight& flight) const {
  if (flight.event_ != nullptr) {
    flight.device_->wait_event(flight.event_);
    const std::span<const int32_t> tokens = sampler_.tokens(flight.results_slot_);
    for (size_t i = 0; i < flight.targets_.size(); ++i) {
      report_token(tokens[i], flight.output_.rows[flight.targets_[i].row_index]);
    }
  }
  return std::move(flight.output_);
}

StepInFlight::~StepInFlight() {
  if (event_ != nullptr) device_->destroy_event(event_);
}

bool StepExecutor::is_plain_decode(const SchedulerOutput& step) const {
  return graphs_.bucket_for(static_cast<int>(step.rows.size())).has_value() &&
         targets_.size() == step.rows.size() &&
         step.total_num_scheduled_tokens == static_cast<int>(step.rows.size()) &&
         std::ranges::none_of(step_rows_, [](const RequestRow* row) {
           return row->params().prompt_logprobs && row->num_output_tokens() == 0;
         });
}

TensorView StepExecutor::run_decode(const SchedulerOutput& step, bool has_adapters) {
  const auto num_seqs = static_cast<int>(step.rows.size());
  const int bucket = *graphs_.bucket_for(num_seqs);
  batch_.pad_to(bucket);
  batch_.upload(stream_);
  if (has_adapters) {
    adapters_->set_recorded(bucket);
    adapters_->upload(stream_);
  }
  load_adapters(step.adapter_loads);
  if (has_adapters && loader_ != nullptr) loader_->wait_for_all();  // it cannot be recorded
  GraphRunner& graphs = has_adapters ? *adapter_graphs_ : graphs_;
  graphs.run(bucket, [&] {
    const Workspace::Scope plans(stream_.workspace());
    batch_.plan_attention(kernels_, stream_, model_.attention_layers());
    feed_tokens();
    ForwardContext context = this->context(has_adapters);
    model_.forward(context, hidden_.view().rows_view(0, bucket));
    if (has_adapters) context.lora = &adapters_->logit_rows();
    compute_logits(context, decode_rows_.view().rows_view(0, bucket));
  });
  return logits_.view().rows_view(0, num_seqs);
}

void StepExecutor::feed_tokens() {
  if (kernels_.feed_tokens == nullptr) return;  // the host knows all tokens
  kernels_.feed_tokens(stream_, {.ids = batch_.forward_batch().token_ids,
                                 .sources = batch_.token_sources(),
                                 .from = sampler_.tokens_on_device()});
}

TensorView StepExecutor::run_model(const SchedulerOutput& step, bool has_adapters,
                                   ModelRunnerOutput& output) {
  const Workspace::Scope plans(stream_.workspace());
  batch_.upload(stream_);
  if (has_adapters) adapters_->upload(stream_);
  load_adapters(step.adapter_loads);
  batch_.plan_attention(kernels_, stream_, model_.attention_layers());
  feed_tokens();
  ForwardContext context = this->context(has_adapters);
  context.lora_arrival = loader_.get();
  model_.forward(context, hidden_.view().rows_view(0, step.total_num_scheduled_tokens));
  context.lora = nullptr;  // an adapter of the head and prompt_logprobs exclude each other
  for (size_t i = 0; i < step.rows.size(); ++i) {
    if (step_rows_[i]->params().prompt_logprobs) {
      report_prompt_logprobs(context, step, i, output.rows[i]);
    }
  }
  if (targets_.empty()) return {};
  logit_indices_arena_.flip();
  auto* indices = logit_indices_.host().as<int32_t>();
  int num_targets = 0;
  for (size_t i = 0; i < step.rows.size(); ++i) {
    if (!step.rows[i].samples) continue;
    indices[num_targets++] = batch_.query_start(i) + step.rows[i].num_scheduled_tokens - 1;
  }
  logit_indices_arena_.upload(stream_);
  if (has_adapters) context.lora = &adapters_->logit_rows();
  return compute_logits(context, logit_indices_.device().rows_view(0, num_targets));
}

void StepExecutor::report_prompt_logprobs(ForwardContext& context, const SchedulerOutput& step,
                                          size_t row_index, RowOutput& output) {
  const RequestRow& row = *step_rows_[row_index];
  if (row.num_output_tokens() > 0) return;  // reported before the first token
  // The logits of position p are about the token at p + 1.
  const int begin = step.rows[row_index].num_computed_tokens;
  const int end =
      std::min(begin + step.rows[row_index].num_scheduled_tokens, row.num_prompt_tokens() - 1);
  const int32_t num_top = resolve_num_top(*row.params().prompt_logprobs, model_.vocab_size());
  for (int chunk = begin; chunk < end; chunk += kMaxPromptLogprobRows) {
    const int rows = std::min(kMaxPromptLogprobRows, end - chunk);
    auto* indices = logit_indices_.host().as<int32_t>();
    for (int i = 0; i < rows; ++i) indices[i] = batch_.query_start(row_index) + chunk - begin + i;
    logit_indices_arena_.upload(stream_);
    const TensorView logits = compute_logits(context, logit_indices_.device().rows_view(0, rows));
    const std::span token_ids =
        std::span(row.token_ids).subspan(static_cast<size_t>(chunk) + 1, static_cast<size_t>(rows));
    const std::vector<int32_t> num_tops(static_cast<size_t>(rows), num_top);
    std::vector<TokenLogprobs> logprobs = sampler_.logprobs(stream_, logits, token_ids, num_tops);
    if (!std::ranges::all_of(logprobs,
                             [](const TokenLogprobs& p) { return std::isfinite(p.logprob); })) {
      output.failure = RowFailure::kCorrupted;
      return;
    }
    std::ranges::move(logprobs, std::back_inserter(output.prompt_logprobs));
  }
}

TensorView StepExecutor::compute_logits(ForwardContext& context, const TensorView& indices) {
  const int64_t rows = indices.rows();
  const TensorView hidden = gathered_hidden_.view().rows_view(0, rows);
  const TensorView logits = logits_.view().rows_view(0, rows);
  kernels_.gather_rows(stream_, {.x = hidden_.view(), .indices = indices, .out = hidden});
  model_.compute_logits(context, hidden, logits);
  return logits;
}

}  // namespace quire
