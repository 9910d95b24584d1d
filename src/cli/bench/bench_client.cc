#include "cli/bench/bench_client.h"

#include <algorithm>
#include <chrono>

#include "cli/http_client.h"
#include "cli/openai_stream.h"
#include "cli/request_pool.h"

namespace quire {
namespace {

using std::chrono::milliseconds;

// One request in flight.
struct Flight {
  OpenAiStream stream;
  Clock::time_point sent;
  Clock::time_point last_chunk;
  int num_chunks = 0;
};

class BenchClient {
 public:
  BenchClient(const BenchClientOptions& options, const std::vector<BenchPrompt>& prompts)
      : options_(options), prompts_(prompts), flights_(prompts.size()) {
    result_.timings.resize(prompts.size());
  }

  BenchClientResult run() {
    const std::vector<double> times =
        arrival_times(static_cast<int>(prompts_.size()), options_.arrivals);
    const Clock::time_point start = Clock::now();
    size_t next = 0;
    while (next < prompts_.size() || http_.num_active() > 0) {
      milliseconds timeout(100);
      while (next < prompts_.size() && has_room()) {
        const double wait_s = times[next] - seconds_since(start);
        if (wait_s > 0) {
          timeout = std::min(timeout, milliseconds(static_cast<int64_t>(wait_s * 1e3)));
          break;
        }
        send(next++);
      }
      http_.poll(timeout);
    }
    result_.duration_s = seconds_since(start);
    return std::move(result_);
  }

 private:
  bool has_room() const {
    return options_.max_concurrency == 0 ||
           static_cast<int>(http_.num_active()) < options_.max_concurrency;
  }

  nlohmann::json body_of(const BenchPrompt& prompt) const {
    nlohmann::json body = options_.sampling;
    body["model"] = options_.model;
    body["stream"] = true;
    body["stream_options"] = {{"include_usage", true}};
    if (options_.is_chat) {
      const nlohmann::json message = {{"role", "user"}, {"content", prompt.text}};
      body["messages"] = nlohmann::json::array({message});
      body["max_completion_tokens"] = prompt.num_output_tokens;
    } else {
      body["prompt"] =
          prompt.token_ids.empty() ? nlohmann::json(prompt.text) : nlohmann::json(prompt.token_ids);
      body["max_tokens"] = prompt.num_output_tokens;
    }
    return body;
  }

  void send(size_t index) {
    Flight& flight = flights_[index];
    std::string body = body_of(prompts_[index]).dump();
    flight.sent = Clock::now();
    http_.start(
        {.url = options_.url,
         .body = std::move(body),
         .api_key = options_.api_key,
         .timeout_s = options_.timeout_s},
        [this, index](std::string_view bytes) {
          return flights_[index].stream.feed(
              bytes, [this, index](const StreamChunk& chunk) { return take(index, chunk); });
        },
        [this, index](const HttpResult& result) { finish(index, result); });
    result_.peak_concurrency =
        std::max(result_.peak_concurrency, static_cast<int>(http_.num_active()));
  }

  bool take(size_t index, const StreamChunk& chunk) {
    RequestTiming& timing = result_.timings[index];
    Flight& flight = flights_[index];
    if (chunk.has_choice) {
      const Clock::time_point now = Clock::now();
      if (flight.num_chunks++ == 0) {
        timing.ttft_s = std::chrono::duration<double>(now - flight.sent).count();
      } else {
        timing.itl_s.push_back(std::chrono::duration<double>(now - flight.last_chunk).count());
      }
      flight.last_chunk = now;
    }
    timing.num_prompt_tokens = std::max(timing.num_prompt_tokens, chunk.num_prompt_tokens);
    timing.num_output_tokens = std::max(timing.num_output_tokens, chunk.num_completion_tokens);
    return true;
  }

  void finish(size_t index, const HttpResult& http_result) {
    RequestTiming& timing = result_.timings[index];
    const Flight& flight = flights_[index];
    if (!flight.stream.error().empty()) {
      timing.error = flight.stream.error();
    } else if (!http_result.ok()) {
      timing.error = http_result.message();
    } else if (flight.num_chunks == 0) {
      timing.error = "the server streamed no chunk";
    } else if (!flight.stream.done()) {
      timing.error = "the stream ended early";
    } else {
      timing.ok = true;
      timing.latency_s = std::chrono::duration<double>(flight.last_chunk - flight.sent).count();
      // A server without usage in streams: its chunks are the best count there is.
      timing.num_output_tokens =
          timing.num_output_tokens > 0 ? timing.num_output_tokens : flight.num_chunks;
      timing.num_prompt_tokens = timing.num_prompt_tokens > 0 ? timing.num_prompt_tokens
                                                              : prompts_[index].num_prompt_tokens;
    }
  }

  const BenchClientOptions& options_;
  const std::vector<BenchPrompt>& prompts_;
  std::vector<Flight> flights_;
  BenchClientResult result_;
  HttpClient http_;  // last: its transfers refer to the members above
};

}  // namespace

BenchClientResult run_bench_client(const BenchClientOptions& options,
                                   const std::vector<BenchPrompt>& prompts) {
  return BenchClient(options, prompts).run();
}

}  // namespace quire
