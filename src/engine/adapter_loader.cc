#include "engine/adapter_loader.h"

#include <cstdint>

#include "engine/lora_adapter.h"

namespace quire {

constexpr int kNumChunks = 8;                          // an event costs microseconds of the host's
constexpr int64_t kDirectoryBytes = int64_t{8} << 20;  // of some dozens of adapters

AdapterLoader::AdapterLoader(Stream& stream, std::byte* arena, int num_targets)
    : stream_(stream),
      arena_(arena),
      num_targets_(num_targets),
      copies_(stream.pool(), stream.device(), kDirectoryBytes) {
  const Device& device = stream.device();
  for (int i = 1; i <= kNumChunks; ++i) {
    // They grow: the first layers wait for little, the later ones for nothing.
    chunks_.push_back({.end = num_targets * i * i / (kNumChunks * kNumChunks),
                       .event = {device.create_event(), device.destroy_event}});
  }
  num_waited_ = chunks_.size();
  (void)copies_.uploader();  // takes its memory now
}

void AdapterLoader::load(std::span<const AdapterLoad> loads, const Running* running) {
  // For earlier ones: their blocks may have been given to others, and their events are used again.
  wait_for_all();
  if (loads.empty()) return;
  const Device& device = stream_.device();
  // Steps before the one that runs are done.
  const auto meets_running = [&](const AdapterLoad& load, int block) {
    return running != nullptr &&
           load.place->last_steps[static_cast<size_t>(block)] >= running->step_id;
  };
  for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
    queue_chunk(loads, chunk,
                [&](const AdapterLoad& load, int block) { return !meets_running(load, block); });
    if (running == nullptr) device.record_event(copies_.queue(), chunks_[chunk].event.get());
  }
  if (running != nullptr) {
    device.queue_wait_event(copies_.queue(), running->event);
    for (size_t chunk = 0; chunk < chunks_.size(); ++chunk) {
      queue_chunk(loads, chunk, meets_running);
      device.record_event(copies_.queue(), chunks_[chunk].event.get());
    }
  }
  num_waited_ = 0;
}

template <typename Wanted>
void AdapterLoader::queue_chunk(std::span<const AdapterLoad> loads, size_t chunk,
                                const Wanted& wanted) {
  const bool is_last = chunk + 1 == chunks_.size();
  for (const AdapterLoad& load : loads) {
    const int begin = chunk == 0 ? 0 : load.weights->num_blocks_before(chunks_[chunk - 1].end);
    const int end = is_last ? static_cast<int>(load.place->block_ids.size())
                            : load.weights->num_blocks_before(chunks_[chunk].end);
    load.weights->load(copies_, arena_, *load.place, begin, end,
                       [&](int block) { return wanted(load, block); });
  }
}

void AdapterLoader::wait_for(int target) {
  while (num_waited_ < chunks_.size() &&
         (num_waited_ == 0 || chunks_[num_waited_ - 1].end <= target)) {
    stream_.device().queue_wait_event(stream_.queue(), chunks_[num_waited_++].event.get());
  }
}

}  // namespace quire
