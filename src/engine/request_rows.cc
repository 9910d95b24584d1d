#include "engine/request_rows.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quire {
namespace {

bool has_penalties(const SamplingParams& params) {
  return params.presence_penalty != 0.0F || params.frequency_penalty != 0.0F ||
         params.repetition_penalty != 1.0F;
}

}  // namespace

void RequestRow::append(int32_t token_id) {
  token_ids.push_back(token_id);
  if (tracks_token_uses) ++token_uses[token_id].num_output;
}

void RequestRows::apply(const SchedulerOutput& step) {
  for (const RequestId id : step.finished_ids) drop(id);
  for (const NewRequestData& data : step.new_requests) create(data);
  for (const ScheduledRow& scheduled : step.rows) {
    BlockIds& block_ids = at(scheduled.id).block_ids;
    block_ids.resize(std::max(block_ids.size(), scheduled.new_block_ids.size()));
    for (size_t group = 0; group < scheduled.new_block_ids.size(); ++group) {
      const std::vector<int32_t>& added = scheduled.new_block_ids[group];
      block_ids[group].insert(block_ids[group].end(), added.begin(), added.end());
    }
  }
}

RequestRow& RequestRows::at(RequestId id) {
  RequestRow* row = find(id);
  CHECK(row != nullptr, "no row of request ", id);
  return *row;
}

RequestRow* RequestRows::find(RequestId id) {
  const auto found = rows_.find(id);
  return found == rows_.end() ? nullptr : found->second.get();
}

void RequestRows::create(const NewRequestData& data) {
  std::unique_ptr<RequestRow> row;
  if (spare_rows_.empty()) {
    row = std::make_unique<RequestRow>();
  } else {
    row = std::move(spare_rows_.back());
    spare_rows_.pop_back();
  }
  const EngineRequest& request = *data.request;
  row->request = data.request;
  row->adapter_place = data.adapter_place;
  row->index_in_flight = -1;
  row->generation = num_created_++;
  row->tracks_token_uses = has_penalties(*request.params);
  row->token_ids.reserve(request.prompt_token_ids.size() + static_cast<size_t>(request.max_tokens));
  row->token_ids.assign(request.prompt_token_ids.begin(), request.prompt_token_ids.end());
  if (row->tracks_token_uses) {
    for (const int32_t id : request.prompt_token_ids) row->token_uses[id].in_prompt = true;
  }
  for (const int32_t id : data.output_token_ids) row->append(id);
  const bool inserted = rows_.emplace(data.id, std::move(row)).second;
  CHECK(inserted, "request ", data.id, " has a row already");
}

void RequestRows::drop(RequestId id) {
  const auto found = rows_.find(id);
  if (found == rows_.end()) return;  // ended before it was ever scheduled
  RequestRow& row = *found->second;
  row.request.reset();
  row.token_ids.clear();
  for (std::vector<int32_t>& group : row.block_ids) group.clear();
  row.token_uses.clear();
  spare_rows_.push_back(std::move(found->second));
  rows_.erase(found);
}

}  // namespace quire
