// What the device keeps of each live request between steps.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "scheduler/scheduler_output.h"

namespace quire {

// How often a token occurs in a request, for the penalties.
struct TokenUse {
  int32_t num_output = 0;
  bool in_prompt = false;
};

// One live request.  Lives from the step that first schedules it until it finishes or is preempted.
struct RequestRow {
  std::shared_ptr<const EngineRequest> request;
  std::vector<int32_t> token_ids;  // prompt, then generated tokens that the host knows
  // The place among the last step's samples of one more token, which only the device knows yet;
  // -1 = none.
  int32_t index_in_flight = -1;
  int64_t step_in_flight = 0;  // that step's number
  int64_t generation = 0;      // tells this row from an earlier one of the same request
  BlockIds block_ids;          // block table per KV cache group
  std::shared_ptr<const AdapterPlace> adapter_place;  // null without an adapter
  bool tracks_token_uses = false;  // whether token_uses is kept: the request has a penalty
  std::unordered_map<int32_t, TokenUse> token_uses;

  // Prompt and generated tokens, the one in flight included.
  int num_tokens() const {
    return static_cast<int>(token_ids.size()) + (index_in_flight < 0 ? 0 : 1);
  }
  const SamplingParams& params() const { return *request->params; }
  int num_prompt_tokens() const { return static_cast<int>(request->prompt_token_ids.size()); }
  int num_output_tokens() const { return static_cast<int>(token_ids.size()) - num_prompt_tokens(); }
  std::span<const int32_t> output_token_ids() const {
    return std::span(token_ids).subspan(request->prompt_token_ids.size());
  }
  // Takes a sampled token in.
  void append(int32_t token_id);
};

// Thread: device.  Memory of dropped rows is kept for new ones.
class RequestRows {
 public:
  // Drops finished rows, creates the new ones and extends block tables, as `step` says.
  void apply(const SchedulerOutput& step);
  // Requires: the row exists.
  RequestRow& at(RequestId id);
  // Null if it does not.
  RequestRow* find(RequestId id);
  size_t size() const { return rows_.size(); }

 private:
  void create(const NewRequestData& data);
  void drop(RequestId id);

  std::unordered_map<RequestId, std::unique_ptr<RequestRow>> rows_;
  std::vector<std::unique_ptr<RequestRow>> spare_rows_;
  int64_t num_created_ = 0;
};

}  // namespace quire
