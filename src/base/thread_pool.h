// The compute threads of the CPU backend: fork-join over a static partition, no work stealing and
// no OpenMP, so that results and timing are the same from run to run.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace quire {

// A non-owning reference to a callable; cheaper than std::function, and never allocates.
template <typename Signature>
class FunctionRef;
template <typename R, typename... Args>
class FunctionRef<R(Args...)> {
 public:
  template <typename F>
  FunctionRef(F&& f)  // NOLINT(google-explicit-constructor): used as a parameter type
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* object, Args... args) -> R {
          return (*static_cast<std::remove_reference_t<F>*>(object))(args...);
        }) {}
  R operator()(Args... args) const { return call_(object_, args...); }

 private:
  void* object_;
  R (*call_)(void*, Args...);
};

struct ThreadPoolOptions {
  int num_threads = 0;      // the calling thread included; 0 = cores this process may use
  bool pin_threads = true;  // bind worker i to the i-th allowed core (the caller stays unbound)
};

// Thread: one owner calls run(); workers spin briefly after a job, then sleep.
class ThreadPool {
 public:
  explicit ThreadPool(const ThreadPoolOptions& options);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;
  // Calls task(thread_index) once on each of num_threads() threads, the caller being thread 0, and
  // returns when all have returned.  task must not throw and must not call run().
  void run(FunctionRef<void(int)> task);
  // Splits [0, count) in num_threads() contiguous ranges whose bounds are multiples of `grain`, and
  // calls task(begin, end) for the non-empty ones.
  void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> task);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace quire
