#include "cli/bench/bench_engine.h"

#include <fmt/format.h>

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

void take(const RequestPool::Event& event, Clock::time_point start, Flight& flight,
          RequestTiming& timing) {
  if (event.output.finish_reason == FinishReason::kError) {
    throw LoadError("the engine failed in the middle of the benchmark");
  }
  const Clock::time_point now = Clock::now();
  if (!event.output.token_ids.empty()) {
    if (timing.num_output_tokens == 0) {
      timing.ttft_s = std::chrono::duration<double>(now - start).count();
    } else {
      timing.itl_s.push_back(std::chrono::duration<double>(now - flight.last_token).count());
    }
    flight.last_token = now;
    timing.num_output_tokens += static_cast<int>(event.output.token_ids.size());
  }
  timing.num_prompt_tokens = event.num_prompt_tokens;
  timing.latency_s = std::chrono::duration<double>(now - start).count();
  timing.ok = timing.ok || event.finished;
}

}  // namespace

EngineRunResult run_on_engine(EngineClient& engine, const std::vector<BenchPrompt>& prompts,
                              const nlohmann::json& sampling,
                              const std::vector<std::string>& adapters) {
  SamplingLimits limits;
  limits.vocab_size = engine.info().vocab_size;
  RequestPool pool(engine, nullptr, limits);
  EngineRunResult result;
  result.timings.resize(prompts.size());
  std::unordered_map<RequestPool::Ticket, Flight> flights;
  const Clock::time_point start = Clock::now();
  for (size_t i = 0; i < prompts.size(); ++i) {
    PromptInput input = make_input(prompts[i], sampling);
    if (!adapters.empty()) input.adapter = acquire_adapter(engine, adapters[i]);
    const auto ticket = pool.submit(std::move(input));
    if (!ticket) {
      throw LoadError(fmt::format("prompt {} ({} tokens in, {} out): {}", i,
                                  prompts[i].num_prompt_tokens, prompts[i].num_output_tokens,
                                  ticket.error().message));
    }
    flights[*ticket] = {i, start};
  }
  while (pool.num_prompts() > 0) {
    for (const RequestPool::Event& event : pool.wait(std::chrono::milliseconds(1000))) {
      Flight& flight = flights.at(event.ticket);
      take(event, start, flight, result.timings[flight.index]);
    }
  }
  result.duration_s = seconds_since(start);
  return result;
}

}  // namespace quire
