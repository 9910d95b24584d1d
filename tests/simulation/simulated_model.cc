#include "simulation/simulated_model.h"

#include <algorithm>

#include "base/check.h"
#include "simulation/adapters.h"
#include "simulation/random.h"

namespace quire::simulation {
namespace {

constexpr uint64_t kNoPage = 0;

int first_visible(int sliding_window, int query_position) {
  return sliding_window == 0 ? 0 : std::max(0, query_position - sliding_window + 1);
}

uint64_t fold(uint64_t hash, const KVEntry& entry) {
  hash ^= entry.identity + static_cast<uint64_t>(entry.token_id) * 0x100000001B3U +
          (static_cast<uint64_t>(entry.position) << 20) +
          (static_cast<uint64_t>(entry.group) << 40);
  return (hash ^ (hash >> 29)) * 0xBF58476D1CE4E5B9U;
}

int32_t sample(const EngineRequest& request, uint64_t hash) {
  return static_cast<int32_t>(mix(hash ^ request.seed) % kVocabSize);
}

}  // namespace

KVIdentity::KVIdentity(const EngineRequest& request) {
  for (const char c : request.cache_salt) {
    tenant_ = mix(tenant_ + static_cast<uint8_t>(c));
  }
  adapted_ = tenant_;
  if (request.adapter.has_value()) {
    first_token_ = request.adapter->first_token;
    adapted_ =
        mix(tenant_ ^ request.adapter->weights->identity()) + static_cast<uint64_t>(first_token_);
  }
}

int32_t next_token(const KVCacheSpec& spec, const EngineRequest& request,
                   std::span<const int32_t> token_ids) {
  const KVIdentity identity(request);
  const int num_tokens = static_cast<int>(token_ids.size());
  uint64_t hash = 0;
  for (int group = 0; group < static_cast<int>(spec.groups.size()); ++group) {
    const int first = first_visible(spec.groups[group].sliding_window, num_tokens - 1);
    for (int position = first; position < num_tokens; ++position) {
      hash = fold(hash, {.token_id = token_ids[position],
                         .position = position,
                         .group = group,
                         .identity = identity.at(position)});
    }
  }
  return sample(request, hash);
}

SimulatedRunner::SimulatedRunner(const KVCacheSpec& spec, int64_t num_blocks)
    : spec_(spec),
      kv_cache_(static_cast<size_t>(num_blocks * spec.block_size)),
      pages_(static_cast<size_t>(num_blocks * kPagesPerBlock), kNoPage),
      touched_(pages_.size(), 0) {
  CHECK(kPagesPerBlock % spec.block_size == 0, "a page is within a token's slot");
}

ModelRunnerOutput SimulatedRunner::run(const SchedulerOutput& step) {
  for (const AdapterLoad& load : step.adapter_loads) {
    this->load(load);
  }
  step_id_ = step.step_id;
  update_rows(step);
  ModelRunnerOutput output;
  output.step_id = step.step_id;
  for (const ScheduledRow& scheduled : step.rows) {
    if (!accept(scheduled)) {
      return output;
    }
  }
  for (const ScheduledRow& scheduled : step.rows) {
    write(scheduled, rows_.at(scheduled.id));
  }
  for (const ScheduledRow& scheduled : step.rows) {
    Row& row = rows_.at(scheduled.id);
    RowOutput& row_output = output.rows.emplace_back();
    row_output.id = scheduled.id;
    check_adapter(scheduled.id, row);
    const uint64_t hash = read(scheduled, row);
    const int end = scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
    if (row.request->params->prompt_logprobs.has_value()) {
      const int num_prompt_tokens = static_cast<int>(row.request->prompt_token_ids.size());
      for (int i = scheduled.num_computed_tokens + 1; i <= std::min(end, num_prompt_tokens - 1);
           ++i) {
        row_output.prompt_logprobs.emplace_back().token_id = row.token_ids[i];
      }
    }
    if (scheduled.samples) {
      const int32_t token_id = sample(*row.request, row.is_corrupted ? ~hash : hash);
      row.token_ids.push_back(token_id);
      row_output.sampled_token_ids = {token_id};
      if (row.request->params->logprobs.has_value()) {
        row_output.logprobs.emplace_back().token_id = token_id;
      }
    }
  }
  return output;
}

void SimulatedRunner::fail(RequestId id, const std::string& what) {
  if (violation_.empty()) {
    violation_ = "row of request " + std::to_string(id) + ": " + what;
  }
}

void SimulatedRunner::update_rows(const SchedulerOutput& step) {
  for (const RequestId id : step.finished_ids) {
    if (rows_.erase(id) == 0) {
      fail(id, "finished, but the runner has no such row");
    }
  }
  for (const NewRequestData& data : step.new_requests) {
    Row row;
    row.request = data.request;
    row.token_ids = data.request->prompt_token_ids;
    row.token_ids.insert(row.token_ids.end(), data.output_token_ids.begin(),
                         data.output_token_ids.end());
    row.block_ids.resize(spec_.groups.size());
    row.adapter_place = data.adapter_place;
    if ((row.adapter_place != nullptr) != row.request->adapter.has_value()) {
      fail(data.id, "has a place for an adapter and none, or the reverse");
    }
    if (!rows_.emplace(data.id, std::move(row)).second) {
      fail(data.id, "new, but the runner has such a row");
    }
  }
  for (const ScheduledRow& scheduled : step.rows) {
    const auto found = rows_.find(scheduled.id);
    if (found == rows_.end() || scheduled.new_block_ids.size() != spec_.groups.size()) {
      fail(scheduled.id, "unknown to the runner, or not one list of blocks per group");
      continue;
    }
    for (size_t group = 0; group < spec_.groups.size(); ++group) {
      std::vector<int32_t>& ids = found->second.block_ids[group];
      const std::vector<int32_t>& new_ids = scheduled.new_block_ids[group];
      ids.insert(ids.end(), new_ids.begin(), new_ids.end());
    }
  }
}

void SimulatedRunner::load(const AdapterLoad& load) {
  const LoraAdapter& adapter = *load.weights;
  if (!is_in_arena(adapter, *load.place)) {
    violation_ = "an adapter is loaded to a place of another size";
    return;
  }
  for (int i = 0; i < adapter.num_pages(); ++i) {
    const size_t index = page_index(adapter, *load.place, i);
    if (touched_[index] > load.place->last_steps[static_cast<size_t>(i / kPagesPerBlock)]) {
      violation_ = "an adapter is loaded to a block that a later step used";
    }
    pages_[index] = adapter.page(i);
    kv_cache_[index * static_cast<size_t>(spec_.block_size) / kPagesPerBlock] = {};
  }
}

// All of the adapter has to be in place after the writes of the step as well.
void SimulatedRunner::check_adapter(RequestId id, const Row& row) {
  if (row.adapter_place == nullptr || !violation_.empty()) {
    return;
  }
  const LoraAdapter& adapter = *row.request->adapter->weights;
  if (!is_in_arena(adapter, *row.adapter_place)) {
    fail(id, "the place of its adapter has another size");
    return;
  }
  for (int i = 0; i < adapter.num_pages(); ++i) {
    touch(page_index(adapter, *row.adapter_place, i));
    if (pages_[page_index(adapter, *row.adapter_place, i)] != adapter.page(i)) {
      fail(id, "page " + std::to_string(i) + " of its adapter is not in the arena");
      return;
    }
  }
}

bool SimulatedRunner::is_in_arena(const LoraAdapter& adapter, const AdapterPlace& place) const {
  const AdapterExtent& extent = adapter.extent();
  const auto num_blocks = static_cast<int32_t>(pages_.size() / kPagesPerBlock);
  return std::ssize(place.block_ids) == extent.num_blocks + (extent.tail_pages > 0 ? 1 : 0) &&
         place.last_steps.size() == place.block_ids.size() && place.tail_page >= 0 &&
         place.tail_page + extent.tail_pages <= kPagesPerBlock &&
         std::ranges::all_of(place.block_ids,
                             [&](int32_t id) { return id > kNullBlockId && id < num_blocks; });
}

size_t SimulatedRunner::page_index(const LoraAdapter& adapter, const AdapterPlace& place,
                                   int page) const {
  const int block = page / kPagesPerBlock;
  const int first = block == adapter.extent().num_blocks ? place.tail_page : 0;
  return static_cast<size_t>(place.block_ids[static_cast<size_t>(block)]) * kPagesPerBlock +
         static_cast<size_t>(first + page % kPagesPerBlock);
}

bool SimulatedRunner::accept(const ScheduledRow& scheduled) {
  if (!violation_.empty()) {
    return false;
  }
  const Row& row = rows_.at(scheduled.id);
  const int begin = scheduled.num_computed_tokens;
  const int end = begin + scheduled.num_scheduled_tokens;
  const int num_tokens = static_cast<int>(row.token_ids.size());
  const int max_num_tokens =
      static_cast<int>(row.request->prompt_token_ids.size()) + row.request->max_tokens;
  if (begin < 0 || end <= begin || end > num_tokens || end >= max_num_tokens) {
    fail(scheduled.id, "computes tokens that do not exist");
  } else if (scheduled.samples != (end == num_tokens)) {
    fail(scheduled.id, "samples elsewhere than after the last token");
  }
  for (int group = 0; group < static_cast<int>(spec_.groups.size()); ++group) {
    for (int position = begin; position < end && violation_.empty(); ++position) {
      if (entry(row, group, position) == nullptr) {
        fail(scheduled.id, "has no block to write to");
      }
    }
  }
  return violation_.empty();
}

void SimulatedRunner::write(const ScheduledRow& scheduled, Row& row) {
  const KVIdentity identity(*row.request);
  const int end = scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
  const int pages_per_slot = kPagesPerBlock / spec_.block_size;
  for (int group = 0; group < static_cast<int>(spec_.groups.size()); ++group) {
    for (int position = scheduled.num_computed_tokens; position < end; ++position) {
      KVEntry& written = *entry(row, group, position);
      written = {.token_id = row.token_ids[position],
                 .position = position,
                 .group = group,
                 .identity = identity.at(position)};
      const auto slot = &written - kv_cache_.data();
      std::fill_n(pages_.begin() + slot * pages_per_slot, pages_per_slot, kNoPage);
    }
  }
}

// Reads all that the row's queries see; returns the hash of what the last one sees.
uint64_t SimulatedRunner::read(const ScheduledRow& scheduled, Row& row) {
  const KVIdentity identity(*row.request);
  const int end = scheduled.num_computed_tokens + scheduled.num_scheduled_tokens;
  uint64_t hash = 0;
  for (int group = 0; group < static_cast<int>(spec_.groups.size()); ++group) {
    const int sliding_window = spec_.groups[group].sliding_window;
    const int first_of_last_query = first_visible(sliding_window, end - 1);
    for (int position = first_visible(sliding_window, scheduled.num_computed_tokens);
         position < end; ++position) {
      const KVEntry* found = entry(row, group, position);
      const KVEntry expected = {.token_id = row.token_ids[position],
                                .position = position,
                                .group = group,
                                .identity = identity.at(position)};
      row.is_corrupted |= found == nullptr || *found != expected;
      if (position >= first_of_last_query) {
        hash = fold(hash, found == nullptr ? KVEntry{} : *found);
      }
    }
  }
  return hash;
}

KVEntry* SimulatedRunner::entry(const Row& row, int group, int position) {
  const size_t index = static_cast<size_t>(position / spec_.block_size);
  const std::vector<int32_t>& ids = row.block_ids[group];
  if (index >= ids.size() || ids[index] == 0) {
    return nullptr;
  }
  const auto slot =
      static_cast<size_t>(ids[index] * spec_.block_size + position % spec_.block_size);
  touch(slot * kPagesPerBlock / static_cast<size_t>(spec_.block_size));
  return &kv_cache_[slot];
}

}  // namespace quire::simulation
