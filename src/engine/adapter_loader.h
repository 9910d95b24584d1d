// Copies adapters into the arena of a device beside the step that runs there.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "nn/forward_context.h"
#include "scheduler/scheduler_output.h"
#include "tensor/stream.h"

namespace quire {

// Thread: device.
class AdapterLoader : public LoraArrival {
 public:
  // `stream`: of the steps.
  AdapterLoader(Stream& stream, std::byte* arena, int num_targets);

  // A step that is queued, and may still run, and the event after it.
  struct Running {
    int64_t step_id = 0;
    void* event = nullptr;
  };
  // Queues the copies of a step's loads, target by target, on a queue of their own.  What `running`
  // may use is overwritten after it; null: nothing runs.  Called for every step, with loads or
  // without: what earlier steps loaded is there before any of the stream's later work.
  void load(std::span<const AdapterLoad> loads, const Running* running);
  // The stream's work from here on finds what was loaded for the targets up to this one.
  void wait_for(int target) override;
  void wait_for_all() { wait_for(num_targets_ - 1); }

 private:
  // Targets whose copies share an event.
  struct Chunk {
    int end = 0;  // of its targets
    std::unique_ptr<void, void (*)(void*)> event;
  };

  template <typename Wanted>
  void queue_chunk(std::span<const AdapterLoad> loads, size_t chunk, const Wanted& wanted);

  Stream& stream_;
  std::byte* arena_;
  int num_targets_;
  Stream copies_;
  std::vector<Chunk> chunks_;
  size_t num_waited_;  // chunks that the stream has been told to wait for
};

}  // namespace quire
