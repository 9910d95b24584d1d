// What the cells of bench lora share.  A cell is a function that measures, prints, and adds rows to
// the report; bench_lora.cc has the table of them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/bench/bench_dataset.h"
#include "cli/bench/bench_report.h"
#include "cli/bench/made_adapters.h"
#include "cli/command.h"
#include "cli/engine_flags.h"
#include "cli/local_model.h"

namespace quire {

struct LoraBenchFlags {
  EngineFlags engine;
  DatasetFlags dataset{.num_prompts = 0, .random_output_len = 64};
  ReportFlags report;
  std::vector<std::string> cells;
  std::vector<int> num_adapters = {1, 8, 32};
  std::vector<int> ranks = {16};
  std::vector<std::string> modules;
  std::vector<int> batch_sizes = {1, 32};
  int num_iters = 3;
  // Of cell many.
  int num_registered = 2000;
  int num_host = 2000;  // of these, read before the clock starts
  int num_requests = 200;
  int max_concurrency = 64;
  // Of cell storm.
  int num_active = 16;
  int budget = 8;
  double request_rate = 0;  // 0: half of what the engine can do
  // Of cell cycles.
  int num_cycles = 10000;
  int64_t max_growth_bytes = int64_t{32} << 20;
  // Of cell memory.
  int num_tenants = 3;
  std::vector<int64_t> tenant_kv_tokens = {0, 16384, 65536};
  std::string tenant;  // set in the processes that the cell starts: TenantSpec
};

// Names and engine of one run.  Thread: one owner.
class LoraBench {
 public:
  LoraBench(LoraBenchFlags flags, CommandArgs args);

  const LoraBenchFlags& flags() const { return flags_; }
  const CommandArgs& args() const { return args_; }
  MadeAdapters& made() { return made_; }

  // The engine that the flags describe; started when first wanted, in place of any other.
  EngineClient& engine();
  // One of another configuration, in place of the one that was there; until stop_engine().
  EngineClient& start_engine(const EngineConfig& config);
  void stop_engine() { model_ = {}; }

  // Names of `num_prompts` adapters, the first `count` in turn; count = 0: the base model.
  std::vector<std::string> adapters_in_turn(EngineClient& engine, size_t num_prompts, int count);
  // Has the first `count` adapters, which are made, in host memory; seconds that it took.
  double read_adapters(EngineClient& engine, int count) const;
  // Runs short prompts, the first `num_adapters` adapters in turn, that decode in batches of
  // `batch_size` down to 1: steps are recorded when a size first comes up.
  void record_steps(EngineClient& engine, int batch_size, int num_adapters);
  // Of one adapter's weights, on average over the ranks.
  int64_t adapter_bytes();
  // Prompts of the lengths that the flags say.
  std::vector<BenchPrompt> prompts(EngineClient& engine, int count, int output_len) const;

  void add_row(nlohmann::ordered_json row) { rows_.push_back(std::move(row)); }
  const nlohmann::ordered_json& rows() const { return rows_; }
  // Makes the command end with an error, after the report is written.
  void fail(std::string reason) { failures_.push_back(std::move(reason)); }
  const std::vector<std::string>& failures() const { return failures_; }
  // Of the latest engine, of this process or one that it started; null if there was none.
  const EngineInfo* info() const { return info_ ? &*info_ : nullptr; }
  void set_info(const EngineInfo& info) { info_ = info; }

 private:
  LoraBenchFlags flags_;
  CommandArgs args_;
  MadeAdapters made_;
  LocalModel model_;
  bool is_of_flags_ = false;  // whether model_ is what the flags describe
  std::optional<EngineInfo> info_;
  nlohmann::ordered_json rows_ = nlohmann::ordered_json::array();
  std::vector<std::string> failures_;
};

// Decode steps with adapters against the base model's.
void run_lora_decode(LoraBench& bench);
// Tokens per second of --num-prompts prompts at once.
void run_lora_throughput(LoraBench& bench);
// What the arena's blocks that adapters have hold beside their weights.
void run_lora_arena(LoraBench& bench);
// The first token on the base model, with an adapter in place, and with one in host memory.
void run_lora_first_token(LoraBench& bench);
// Requests per second over thousands of adapters, some requests always in flight.
void run_lora_many(LoraBench& bench);
// More active adapters than a budget has room for, against no budget.
void run_lora_storm(LoraBench& bench);
// Loading and unloading over and over: does memory grow?
void run_lora_cycles(LoraBench& bench);
// Processes with an adapter each against one process with all.
void run_lora_memory(LoraBench& bench);

}  // namespace quire
