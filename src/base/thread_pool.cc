#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/check.h"

namespace quire {
namespace {

// Long enough to bridge the gap between two kernels of a step, short enough not to starve the other
// threads of the process.
constexpr std::chrono::microseconds kSpinTime{30};

std::vector<int> allowed_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) {
    for (int core = 0; core < CPU_SETSIZE; ++core) {
      if (CPU_ISSET(core, &set)) cores.push_back(core);
    }
  }
  if (cores.empty()) cores.push_back(0);
  return cores;
}

// Best effort: a container may forbid it, and the pool then works unpinned.
void pin_this_thread(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  (void)sched_setaffinity(0, sizeof(set), &set);
}

void pause() { __builtin_ia32_pause(); }

// Waits until `value` differs from `old`: spins for `spin_time`, then sleeps in the kernel. Between
// spins it yields, in case the thread waited for needs this very core.
template <typename T>
T wait_for_change(const std::atomic<T>& value, T old, std::chrono::microseconds spin_time) {
  constexpr int kPausesPerYield = 64;
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    for (int i = 0; i < kPausesPerYield; ++i) {
      const T now = value.load(std::memory_order_acquire);
      if (now != old) return now;
      pause();
    }
    if (std::chrono::steady_clock::now() - start >= spin_time) break;
    sched_yield();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

class ThreadPool::State {
 public:
  explicit State(const ThreadPoolOptions& options) {
    const std::vector<int> cores = allowed_cores();
    const int num_cores = static_cast<int>(cores.size());
    num_threads_ = options.num_threads > 0 ? options.num_threads : num_cores;
    if (num_threads_ > num_cores) spin_time_ = std::chrono::microseconds{0};
    for (int i = 1; i < num_threads_; ++i) {
      const int core = options.pin_threads ? cores[i % num_cores] : -1;
      workers_.emplace_back([this, i, core] {
        if (core >= 0) pin_this_thread(core);
        work(i);
      });
    }
  }

  ~State() {
    stopping_ = true;  // published by the epoch
    start_epoch();
    for (std::thread& worker : workers_) worker.join();
  }

  int num_threads() const { return num_threads_; }

  void run(FunctionRef<void(int)> task) {
    if (num_threads_ == 1) {
      task(0);
      return;
    }
    task_ = &task;
    num_running_.store(num_threads_ - 1, std::memory_order_relaxed);
    start_epoch();
    task(0);
    int running = num_running_.load(std::memory_order_acquire);
    while (running != 0) running = wait_for_change(num_running_, running, spin_time_);
  }

 private:
  void start_epoch() {
    epoch_.fetch_add(1, std::memory_order_release);
    epoch_.notify_all();
  }

  void work(int index) {
    uint32_t seen = 0;
    while (true) {
      seen = wait_for_change(epoch_, seen, spin_time_);
      if (stopping_) return;
      (*task_)(index);
      if (num_running_.fetch_sub(1, std::memory_order_acq_rel) == 1) num_running_.notify_one();
    }
  }

  int num_threads_ = 1;
  std::chrono::microseconds spin_time_ = kSpinTime;
  std::vector<std::thread> workers_;
  // Written by the caller between jobs, read by workers after they saw the new epoch.
  FunctionRef<void(int)>* task_ = nullptr;
  bool stopping_ = false;
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<int> num_running_{0};
};

ThreadPool::ThreadPool(const ThreadPoolOptions& options) {
  CHECK(options.num_threads >= 0, "num_threads ", options.num_threads);
  state_ = std::make_unique<State>(options);
}
ThreadPool::~ThreadPool() = default;

int ThreadPool::num_threads() const { return state_->num_threads(); }

void ThreadPool::run(FunctionRef<void(int)> task) { state_->run(task); }

void ThreadPool::parallel_for(int64_t count, int64_t grain,
                              FunctionRef<void(int64_t, int64_t)> task) {
  CHECK(grain > 0, "grain ", grain);
  if (count <= 0) return;
  const int64_t num_units = (count + grain - 1) / grain;
  const int64_t num_threads = state_->num_threads();
  if (num_units == 1 || num_threads == 1) {
    task(0, count);
    return;
  }
  run([&](int thread) {
    const int64_t begin = num_units * thread / num_threads * grain;
    const int64_t end = std::min(count, num_units * (thread + 1) / num_threads * grain);
    if (begin < end) task(begin, end);
  });
}

}  // namespace quire
