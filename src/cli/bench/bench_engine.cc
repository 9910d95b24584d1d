#include "cli/bench/bench_engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "cli/request_pool.h"
#include "cli/sampling_json.h"
#include "engine/adapter_registry.h"

namespace quire {
namespace {

struct Flight {
  size_t index = 0;
  Clock::time_point start;
  Clock::time_point last_token;
};

std::shared_ptr<const LoraAdapter> acquire_adapter(EngineClient& engine, const std::string& name) {
  if (name.empty()) return nullptr;
  auto adapter = engine.adapters()->acquire(name);
  if (!adapter) throw LoadError(adapter.error().message);
  return std::move(adapter).value();
}

PromptInput make_input(const BenchPrompt& prompt, const nlohmann::json& sampling) {
  PromptInput input;
  input.token_ids = prompt.token_ids;
  input.params.temperature = 0;
  input.params.detokenize = false;
  if (const auto applied = apply_sampling_json(sampling, input.params); !applied) {
    throw LoadError(applied.error());
  }
  input.params.ignore_eos = true;
  input.params.max_tokens = prompt.num_output_tokens;
  return input;
}

void take(const RequestPool::Event& event, Flight& flight, RequestTiming& timing) {
  if (event.output.finish_reason == FinishReason::kError) {
    throw LoadError("the engine failed in the middle of the benchmark");
  }
  const Clock::time_point now = Clock::now();
  if (!event.output.token_ids.empty()) {
    if (timing.num_output_tokens == 0) {
      timing.ttft_s = std::chrono::duration<double>(now - flight.start).count();
    } else {
      timing.itl_s.push_back(std::chrono::duration<double>(now - flight.last_token).count());
    }
    flight.last_token = now;
    timing.num_output_tokens += static_cast<int>(event.output.token_ids.size());
  }
  timing.num_prompt_tokens = event.num_prompt_tokens;
  timing.latency_s = std::chrono::duration<double>(now - flight.start).count();
  timing.ok = timing.ok || event.finished;
}

// Submits prompts when their time has come.
class Submitter {
 public:
  Submitter(EngineClient& engine, const std::vector<BenchPrompt>& prompts,
            const EngineRunOptions& options, RequestPool& pool)
      : engine_(engine), prompts_(prompts), options_(options), pool_(pool) {}

  bool done() const { return next_ == prompts_.size(); }

  // How long until the next prompt is due, at most `limit`.
  std::chrono::milliseconds until_next(std::chrono::milliseconds limit) const {
    if (options_.arrivals_s.empty() || done()) return limit;
    const double wait_s = options_.arrivals_s[next_] - seconds_since(start_);
    return std::clamp(std::chrono::milliseconds(static_cast<int64_t>(std::ceil(wait_s * 1e3))),
                      std::chrono::milliseconds(0), limit);
  }

  void submit_due(std::unordered_map<RequestPool::Ticket, Flight>& flights) {
    while (!done() && is_due()) {
      const Clock::time_point now = Clock::now();
      const bool at_once = options_.arrivals_s.empty() && options_.max_in_flight == 0;
      flights[submit(next_)] = {.index = next_, .start = at_once ? start_ : now, .last_token = now};
      ++next_;
    }
  }

 private:
  bool is_due() const {
    const bool has_room =
        options_.max_in_flight == 0 || std::cmp_less(pool_.num_prompts(), options_.max_in_flight);
    return has_room &&
           (options_.arrivals_s.empty() || options_.arrivals_s[next_] <= seconds_since(start_));
  }

  RequestPool::Ticket submit(size_t index) {
    const BenchPrompt& prompt = prompts_[index];
    PromptInput input = make_input(prompt, options_.sampling);
    if (!options_.adapters.empty()) {
      input.adapter = acquire_adapter(engine_, options_.adapters[index]);
    }
    const auto ticket = pool_.submit(std::move(input));
    if (!ticket) {
      throw LoadError(fmt::format("prompt {} ({} tokens in, {} out): {}", index,
                                  prompt.num_prompt_tokens, prompt.num_output_tokens,
                                  ticket.error().message));
    }
    return *ticket;
  }

  EngineClient& engine_;
  const std::vector<BenchPrompt>& prompts_;
  const EngineRunOptions& options_;
  RequestPool& pool_;
  const Clock::time_point start_ = Clock::now();
  size_t next_ = 0;
};

}  // namespace

double all_started_s(const EngineRunResult& result) {
  double last_s = 0;
  for (const RequestTiming& timing : result.timings) last_s = std::max(last_s, timing.ttft_s);
  return last_s;
}

std::vector<double> decode_itls(const EngineRunResult& result) {
  const double start_s = all_started_s(result);
  std::vector<double> itls;
  for (const RequestTiming& timing : result.timings) {
    double time_s = timing.ttft_s;
    for (const double itl_s : timing.itl_s) {
      if (time_s >= start_s) itls.push_back(itl_s);
      time_s += itl_s;
    }
  }
  return itls;
}

EngineRunResult run_on_engine(EngineClient& engine, const std::vector<BenchPrompt>& prompts,
                              const EngineRunOptions& options) {
  constexpr std::chrono::milliseconds kMaxWait(1000);
  SamplingLimits limits;
  limits.vocab_size = engine.info().vocab_size;
  RequestPool pool(engine, nullptr, limits);
  EngineRunResult result;
  result.timings.resize(prompts.size());
  std::unordered_map<RequestPool::Ticket, Flight> flights;
  const Clock::time_point start = Clock::now();
  Submitter submitter(engine, prompts, options, pool);
  while (pool.num_prompts() > 0 || !submitter.done()) {
    submitter.submit_due(flights);
    for (const RequestPool::Event& event : pool.wait(submitter.until_next(kMaxWait))) {
      Flight& flight = flights.at(event.ticket);
      take(event, flight, result.timings[flight.index]);
    }
  }
  result.duration_s = seconds_since(start);
  return result;
}

}  // namespace quire
