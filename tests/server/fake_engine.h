// An EngineClient without a model: tokens that are a function of prompt, seed and position, from a
// thread of its own, at a speed the test chooses.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "engine/adapter_registry.h"
#include "engine/engine_client.h"

namespace quire {

struct FakeEngineOptions {
  int max_model_len = 4096;
  int max_num_seqs = 256;
  int max_queue_len = 1024;
  std::chrono::microseconds step_time{200};
  int tokens_per_step = 1;     // of each sequence
  int fail_after_tokens = -1;  // a sequence ends with kError after so many tokens; -1 = never
  RowFailure failure = RowFailure::kNone;  // what it ends with then
  bool enable_lora = false;                // adapters are those of lora_targets()
  int max_cpu_loras = 0;
  std::string lora_dir = {};
};

// An adapter changes what comes.  A sequence generates the bytes of English words with some
// accents, CJK and emoji; EOS ends about one in eight words if it is allowed.
class FakeEngine : public EngineClient {
 public:
  explicit FakeEngine(const FakeEngineOptions& options);
  ~FakeEngine() override;

  RequestId next_id() override { return ++last_id_; }
  Expected<void, RequestError> add(EngineRequest request, StepSink sink) override;
  void abort(RequestId id) override;
  bool reset_prefix_cache() override { return true; }
  EngineStats stats() const override;
  DeviceMemory device_memory() const override {
    return {.weights_bytes = 5, .kv_cache_bytes = 4, .workspace_bytes = 3, .free_bytes = 1};
  }
  const EngineInfo& info() const override { return info_; }
  AdapterRegistry* adapters() override { return adapters_.get(); }
  static std::vector<LoraTarget> lora_targets();

  // While paused no step runs.
  void set_paused(bool paused);
  // From now on add() answers 503 and stats() says why.
  void fail();
  int64_t num_aborts() const { return num_aborts_; }

 private:
  struct Sequence;

  void run();
  void step(Sequence& sequence);
  static StepResult first_result(const Sequence& sequence);
  static int32_t next_token(Sequence& sequence);

  const FakeEngineOptions options_;
  EngineInfo info_;
  std::unique_ptr<AdapterRegistry> adapters_;  // null without enable_lora
  std::atomic<RequestId> last_id_{0};
  std::atomic<int64_t> num_aborts_{0};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<Sequence>> waiting_;  // guarded by mutex_, as all below
  std::set<RequestId> aborted_;
  EngineStats stats_;
  bool paused_ = false;
  bool stopping_ = false;
  std::vector<std::shared_ptr<Sequence>> running_;  // engine thread only
  std::thread thread_;
};

}  // namespace quire
