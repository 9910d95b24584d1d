#include "base/thread_pool.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "base/check.h"

namespace quire {
namespace {

// Long enough to bridge the gap between two kernels of a step.  Short, because a thread that spins
// while another program has the core it waits for loses its claim to be run at once: with one such
// program on two cores, 64 tokens took 0.27 s with 10 us, 0.38 with 30 and 0.67 with 100.
constexpr std::chrono::microseconds kSpinTime{10};

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

using Word = std::atomic<uint32_t>;
static_assert(sizeof(Word) == sizeof(uint32_t) && Word::is_always_lock_free);

// Waits until `word` differs from `old`: spins for `spin_time`, then sleeps in the kernel.  It
// never yields: where other programs want the core, that costs a whole time slice, while a thread
// that slept is run as soon as it is woken.  So not std::atomic::wait() either, which yields.
uint32_t wait_for_change(const Word& word, uint32_t old, std::chrono::microseconds spin_time) {
  constexpr int kPausesPerLook = 64;  // at the clock
  const auto start = std::chrono::steady_clock::now();
  while (true) {
    for (int i = 0; i < kPausesPerLook; ++i) {
      const uint32_t now = word.load(std::memory_order_acquire);
      if (now != old) return now;
      pause();
    }
    if (std::chrono::steady_clock::now() - start < spin_time) continue;
    (void)syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, old, nullptr, nullptr, 0);
  }
}

void wake_all(const Word& word) {
  (void)syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, INT32_MAX, nullptr, nullptr, 0);
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
    num_running_.store(static_cast<uint32_t>(num_threads_ - 1), std::memory_order_relaxed);
    start_epoch();
    task(0);
    uint32_t running = num_running_.load(std::memory_order_acquire);
    while (running != 0) running = wait_for_change(num_running_, running, spin_time_);
  }

 private:
  void start_epoch() {
    epoch_.fetch_add(1, std::memory_order_release);
    wake_all(epoch_);
  }

  void work(int index) {
    uint32_t seen = 0;
    while (true) {
      seen = wait_for_change(epoch_, seen, spin_time_);
      if (stopping_) return;
      (*task_)(index);
      if (num_running_.fetch_sub(1, std::memory_order_acq_rel) == 1) wake_all(num_running_);
    }
  }

  int num_threads_ = 1;
  std::chrono::microseconds spin_time_ = kSpinTime;
  std::vector<std::thread> workers_;
  // Written by the caller between jobs, read by workers after they saw the new epoch.
  FunctionRef<void(int)>* task_ = nullptr;
  bool stopping_ = false;
  alignas(64) Word epoch_{0};
  alignas(64) Word num_running_{0};
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
