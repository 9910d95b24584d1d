// An EngineClient for tests of its callers: each request's output is a function of its prompt and
// seed, and comes within add().  No thread, no model.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "engine/engine_client.h"

namespace quire {

class EchoEngine final : public EngineClient {
 public:
  struct Crash : std::runtime_error {
    Crash() : std::runtime_error("planned crash") {}
  };

  explicit EchoEngine(int vocab_size) {
    info_.vocab_size = vocab_size;
    info_.max_model_len = 1000;
    info_.max_num_seqs = 4;
  }

  // add() throws after so many requests; -1 = never.
  void crash_after(int num_requests) { requests_left_ = num_requests; }
  // Requests stay unanswered until release_all(), which answers the last one first.
  void hold() { holding_ = true; }
  void release_all() {
    while (!held_.empty()) {
      auto [request, sink] = std::move(held_.back());
      held_.pop_back();
      answer(request, sink);
    }
  }
  const std::vector<RequestId>& aborted() const { return aborted_; }
  int num_added() const { return num_added_; }

  RequestId next_id() override { return next_id_++; }
  Expected<void, RequestError> add(EngineRequest request, StepSink sink) override {
    if (requests_left_ == 0) throw Crash();
    if (requests_left_ > 0) --requests_left_;
    ++num_added_;
    if (holding_) {
      held_.emplace_back(std::move(request), std::move(sink));
    } else {
      answer(request, sink);
    }
    return {};
  }
  void abort(RequestId id) override { aborted_.push_back(id); }
  bool reset_prefix_cache() override { return true; }
  EngineStats stats() const override { return {}; }
  DeviceMemory device_memory() const override { return {}; }
  const EngineInfo& info() const override { return info_; }

  // The token at `position` of the output: a lower-case letter.
  static int32_t token_at(const EngineRequest& request, int position) {
    const auto prompt = static_cast<uint64_t>(request.prompt_token_ids.back());
    return static_cast<int32_t>('a' +
                                (prompt + request.seed + static_cast<uint64_t>(position)) % 26);
  }

 private:
  static void answer(const EngineRequest& request, const StepSink& sink) {
    for (int i = 0; i < request.max_tokens; ++i) {
      StepResult result;
      result.id = request.id;
      result.new_token_ids = {token_at(request, i)};
      if (i + 1 == request.max_tokens) result.finish_reason = FinishReason::kLength;
      sink(std::move(result));
    }
  }

  EngineInfo info_;
  RequestId next_id_ = 1;
  int requests_left_ = -1;
  int num_added_ = 0;
  bool holding_ = false;
  std::vector<std::pair<EngineRequest, StepSink>> held_;
  std::vector<RequestId> aborted_;
};

}  // namespace quire
