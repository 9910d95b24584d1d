// A Device in host memory whose queues do nothing until they must, and then as little as they can:
// what another queue or the host did not wait for has not happened.
#pragma once

#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "tensor/device.h"

namespace quire {

class LateDevice {
 public:
  static const Device& table() {
    static const Device device{.name = "late",
                               .allocate = allocate,
                               .free = free_memory,
                               .allocate_staging = allocate,
                               .free_staging = free_memory,
                               .create_queue = [] { return static_cast<void*>(new Queue); },
                               .destroy_queue = [](void* queue) { delete queue_of(queue); },
                               .copy = copy,
                               .synchronize = [](void* queue) { queue_of(queue)->run_all(); },
                               .create_event = [] { return static_cast<void*>(new Event); },
                               .record_event = record_event,
                               .wait_event = [](void* event) { event_of(event)->happen(); },
                               .queue_wait_event = queue_wait_event,
                               .destroy_event = [](void* event) { delete event_of(event); }};
    return device;
  }
  // Work of the test's own.
  static void push(void* queue, std::function<void()> work) {
    queue_of(queue)->work.push_back(std::move(work));
    ++queue_of(queue)->num_pushed;
  }

 private:
  struct Queue {
    std::deque<std::function<void()>> work;
    int64_t num_pushed = 0;
    int64_t num_done = 0;
    void run_until(int64_t count) {
      while (num_done < count) {
        const std::function<void()> next = std::move(work.front());
        work.pop_front();
        ++num_done;
        next();
      }
    }
    void run_all() { run_until(num_pushed); }
  };
  struct Event {
    Queue* queue = nullptr;
    int64_t mark = 0;
    void happen() const {
      if (queue != nullptr) queue->run_until(mark);
    }
  };

  static Queue* queue_of(void* queue) { return static_cast<Queue*>(queue); }
  static Event* event_of(void* event) { return static_cast<Event*>(event); }
  static std::byte* allocate(int64_t num_bytes) {
    return static_cast<std::byte*>(std::calloc(static_cast<size_t>(num_bytes), 1));
  }
  static void free_memory(std::byte* data, int64_t) { std::free(data); }
  static void copy(void* queue, void* to, const void* from, int64_t num_bytes) {
    push(queue, [=] { std::memcpy(to, from, static_cast<size_t>(num_bytes)); });
  }
  static void record_event(void* queue, void* event) {
    *event_of(event) = {.queue = queue_of(queue), .mark = queue_of(queue)->num_pushed};
  }
  static void queue_wait_event(void* queue, void* event) {
    push(queue, [recorded = *event_of(event)] { recorded.happen(); });
  }
};

}  // namespace quire
