// A Device that passes everything on to another one and counts what was taken and given back.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "tensor/device.h"

namespace quire {

// At most one exists at a time, because the entries of a Device are plain functions.  Outlives what
// is allocated through its table.  Counts: any thread.
class CountingDevice {
 public:
  explicit CountingDevice(const Device& device) : device_(device), table_(device) {
    CHECK(current_ == nullptr, "there is another CountingDevice");
    current_ = this;
    count_memory();
    if (device.is_host()) return;
    count_queues();
    count_events();
    count_graphs();
  }
  ~CountingDevice() { current_ = nullptr; }
  CountingDevice(const CountingDevice&) = delete;
  CountingDevice& operator=(const CountingDevice&) = delete;

  const Device& table() const { return table_; }
  // Makes memory_info() answer this.
  void set_memory_info(Device::MemoryInfo memory) {
    memory_ = memory;
    table_.memory_info = [] { return current_->memory_; };
  }

  // Calls of allocate() and allocate_staging().
  int64_t num_allocations() const { return num_allocations_; }
  // Not given back yet: bytes of the device, bytes of staging memory, and the rest in numbers.
  int64_t device_bytes() const { return device_bytes_; }
  int64_t staging_bytes() const { return staging_bytes_; }
  int64_t num_queues() const { return num_queues_; }
  int64_t num_events() const { return num_events_; }
  int64_t num_graphs() const { return num_graphs_; }

 private:
  void count_memory() {
    table_.allocate = [](int64_t num_bytes) {
      std::byte* data = current_->device_.allocate(num_bytes);
      ++current_->num_allocations_;
      current_->device_bytes_ += num_bytes;
      return data;
    };
    table_.free = [](std::byte* data, int64_t num_bytes) {
      current_->device_.free(data, num_bytes);
      current_->device_bytes_ -= num_bytes;
    };
    table_.allocate_staging = [](int64_t num_bytes) {
      std::byte* data = current_->device_.allocate_staging(num_bytes);
      ++current_->num_allocations_;
      current_->staging_bytes_ += num_bytes;
      return data;
    };
    table_.free_staging = [](std::byte* data, int64_t num_bytes) {
      current_->device_.free_staging(data, num_bytes);
      current_->staging_bytes_ -= num_bytes;
    };
  }
  void count_queues() {
    table_.create_queue = [] {
      ++current_->num_queues_;
      return current_->device_.create_queue();
    };
    table_.destroy_queue = [](void* queue) {
      --current_->num_queues_;
      current_->device_.destroy_queue(queue);
    };
  }
  void count_events() {
    table_.create_event = [] {
      ++current_->num_events_;
      return current_->device_.create_event();
    };
    table_.destroy_event = [](void* event) {
      --current_->num_events_;
      current_->device_.destroy_event(event);
    };
  }
  void count_graphs() {
    table_.end_capture = [](void* queue) {
      ++current_->num_graphs_;
      return current_->device_.end_capture(queue);
    };
    table_.destroy_graph = [](void* graph) {
      --current_->num_graphs_;
      current_->device_.destroy_graph(graph);
    };
  }

  static inline CountingDevice* current_ = nullptr;

  const Device& device_;
  Device table_;
  Device::MemoryInfo memory_;
  std::atomic<int64_t> num_allocations_{0};
  std::atomic<int64_t> device_bytes_{0};
  std::atomic<int64_t> staging_bytes_{0};
  std::atomic<int64_t> num_queues_{0};
  std::atomic<int64_t> num_events_{0};
  std::atomic<int64_t> num_graphs_{0};
};

}  // namespace quire
