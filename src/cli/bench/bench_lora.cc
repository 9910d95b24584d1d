// quire bench lora: what adapters cost, from adapters made for the purpose.
#include "cli/bench/bench_lora.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <cstdio>
#include <thread>
#include <utility>

#include "base/error.h"
#include "cli/bench/bench_engine.h"
#include "cli/bench/lora_tenant.h"
#include "cli/flags.h"
#include "cli/request_pool.h"
#include "engine/adapter_registry.h"

namespace quire {
namespace {

struct Cell {
  const char* name;
  bool is_default;  // takes seconds
  void (*run)(LoraBench& bench);
};

// In the order in which they run: memory needs the device for itself, arena looks at what the
// cells before it have loaded.
constexpr std::array kCells{
    Cell{"memory", false, run_lora_memory},
    Cell{"decode", true, run_lora_decode},
    Cell{"throughput", true, run_lora_throughput},
    Cell{"arena", true, run_lora_arena},
    Cell{"first-token", true, run_lora_first_token},
    Cell{"many", false, run_lora_many},
    Cell{"storm", false, run_lora_storm},
    Cell{"cycles", false, run_lora_cycles},
};

void add_large_scale_flags(CLI::App& app, LoraBenchFlags& flags) {
  app.option_defaults()->group("Cell many");
  add_human_int(app, "--num-registered", flags.num_registered, "Adapters that requests choose from",
                1);
  add_human_int(app, "--num-host", flags.num_host,
                "Adapters of these that are in host memory when the clock starts", 0);
  add_human_int(app, "--num-requests", flags.num_requests, "Requests, also of cell storm", 1);
  add_human_int(app, "--max-concurrency", flags.max_concurrency, "Requests in flight", 1);
  app.option_defaults()->group("Cell storm");
  add_human_int(app, "--num-active", flags.num_active, "Adapters that requests choose from", 1);
  add_human_int(app, "--budget", flags.budget, "Adapters that there is room for", 1);
  app.add_option("--request-rate", flags.request_rate,
                 "Requests per second; 0: half of what the engine can do")
      ->capture_default_str();
  app.option_defaults()->group("Cell cycles");
  add_human_int(app, "--num-cycles", flags.num_cycles, "Times that an adapter is loaded", 1);
  add_human_int(app, "--max-growth", flags.max_growth_bytes,
                "Bytes by which the process may grow over all cycles", 0);
  app.option_defaults()->group("Cell memory");
  add_human_int(app, "--num-tenants", flags.num_tenants, "Adapters, and processes", 1);
  app.add_option("--tenant-kv-tokens", flags.tenant_kv_tokens,
                 "Tokens in the KV cache of each tenant, one comparison each")
      ->capture_default_str();
  app.add_option("--tenant", flags.tenant)->group("");
}

void add_flags(CLI::App& app, LoraBenchFlags& flags) {
  std::vector<std::string> names;
  for (const Cell& cell : kCells) {
    names.emplace_back(cell.name);
    if (cell.is_default) flags.cells.emplace_back(cell.name);
  }
  app.option_defaults()->group("Adapters");
  app.add_option("--cells", flags.cells, "What to measure")
      ->check(CLI::IsMember(names))
      ->capture_default_str();
  app.add_option("--num-adapters", flags.num_adapters, "Distinct adapters of a batch, one run each")
      ->capture_default_str();
  app.add_option("--ranks", flags.ranks, "Ranks that the adapters have in turn")
      ->capture_default_str();
  app.add_option("--modules", flags.modules, "Modules they adapt (default: all but the head)");
  app.option_defaults()->group("Cells decode, throughput and storm");
  app.add_option("--batch-size", flags.batch_sizes, "Prompts at once of cell decode, one run each")
      ->capture_default_str();
  add_human_int(app, "--num-iters", flags.num_iters,
                "Times that each is measured; results are medians", 1);
  add_dataset_flags(app, flags.dataset);
  add_large_scale_flags(app, flags);
  add_report_flags(app, flags.report);
  add_engine_flags(app, flags.engine);
}

bool is_chosen(const LoraBenchFlags& flags, const char* name) {
  return std::ranges::find(flags.cells, name) != flags.cells.end();
}

}  // namespace

LoraBench::LoraBench(LoraBenchFlags flags, CommandArgs args)
    : flags_(std::move(flags)),
      args_(std::move(args)),
      made_({.ranks = flags_.ranks, .modules = flags_.modules}) {
  flags_.engine.config.lora_dir = made_.folder();
}

EngineClient& LoraBench::engine() {
  if (model_.engine == nullptr || !is_of_flags_) {
    start_engine(flags_.engine.config);
    is_of_flags_ = true;
  }
  return *model_.engine;
}

EngineClient& LoraBench::start_engine(const EngineConfig& config) {
  stop_engine();
  is_of_flags_ = false;
  EngineFlags flags = flags_.engine;
  flags.config = config;
  model_ = load_local_model(flags, TokenizerUse::kOptional);
  info_ = model_.engine->info();
  return *model_.engine;
}

std::vector<std::string> LoraBench::adapters_in_turn(EngineClient& engine, size_t num_prompts,
                                                     int count) {
  std::vector<std::string> names(num_prompts);
  if (count == 0) return names;
  made_.make(engine.adapters()->config().shape.targets, count);
  for (size_t i = 0; i < num_prompts; ++i) {
    names[i] = made_.name(static_cast<int>(i % static_cast<size_t>(count)));
  }
  return names;
}

// Reading is hashing and copying, at some two gigabytes per second and thread.
double LoraBench::read_adapters(EngineClient& engine, int count) const {
  constexpr unsigned kMaxReaders = 16;
  const Clock::time_point start = Clock::now();
  std::atomic<int> next = 0;
  std::atomic<bool> failed = false;
  const auto read = [&] {
    for (int i = next++; i < count && !failed; i = next++) {
      if (!engine.adapters()->acquire(made_.name(i))) failed = true;
    }
  };
  std::vector<std::jthread> readers;
  const unsigned num_readers = std::clamp(std::thread::hardware_concurrency(), 1U, kMaxReaders);
  for (unsigned i = 0; i < num_readers; ++i) readers.emplace_back(read);
  readers.clear();
  if (failed) throw LoadError("an adapter could not be read");
  return seconds_since(start);
}

void LoraBench::record_steps(EngineClient& engine, int batch_size, int num_adapters) {
  constexpr int kInputLen = 8;
  // Small batches are recorded for one to four sizes each, larger ones for eight and more.
  constexpr int kNumSmall = 8;
  constexpr int kEndAtOnce = 4;
  const EngineInfo& info = engine.info();
  std::vector<BenchPrompt> prompts =
      make_token_prompts({.num_prompts = std::min(batch_size, info.max_num_seqs),
                          .random_input_len = kInputLen,
                          .seed = flags_.engine.config.seed},
                         info.vocab_size);
  const auto steps_after = [](int longer) {
    return longer < kNumSmall ? longer : kNumSmall + (longer - kNumSmall) / kEndAtOnce;
  };
  const auto count = static_cast<int>(prompts.size());
  for (int i = 0; i < count; ++i) {  // i others are longer
    const int length = 2 + steps_after(count - 1) - steps_after(i);
    prompts[static_cast<size_t>(i)].num_output_tokens =
        std::min(length, info.max_model_len - kInputLen);
  }
  run_on_engine(engine, prompts,
                {.adapters = adapters_in_turn(engine, prompts.size(), num_adapters)});
}

int64_t LoraBench::adapter_bytes() {
  const size_t count = flags_.ranks.size();
  int64_t total = 0;
  for (const std::string& name : adapters_in_turn(engine(), count, static_cast<int>(count))) {
    if (const auto read = engine().adapters()->acquire(name); !read) {
      throw LoadError(read.error().message);
    }
    total += engine().adapters()->info(name)->num_bytes;
  }
  return total / static_cast<int64_t>(count);
}

std::vector<BenchPrompt> LoraBench::prompts(EngineClient& engine, int count, int output_len) const {
  return make_token_prompts({.num_prompts = count,
                             .random_input_len = flags_.dataset.random_input_len,
                             .random_output_len = output_len,
                             .seed = flags_.engine.config.seed},
                            engine.info().vocab_size);
}

int run_bench_lora(const CommandArgs& args) {
  // A cell takes minutes: its lines go out one by one through a pipe too.
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  CLI::App app("Measure what LoRA adapters cost, with adapters of random weights.", "bench lora");
  set_up_app(app);
  LoraBenchFlags flags;
  flags.engine.config.enable_prefix_caching = false;  // prompts repeat
  add_flags(app, flags);
  if (!parse_flags(app, args)) return 0;
  settle_model(flags.engine);
  flags.engine.config.enable_lora = true;
  flags.engine.config.max_queue_len = INT_MAX;
  if (!flags.tenant.empty()) return run_lora_tenant(flags.engine, flags.tenant);

  LoraBench bench(flags, args);
  for (const Cell& cell : kCells) {
    if (is_chosen(flags, cell.name)) cell.run(bench);
  }
  nlohmann::ordered_json report =
      report_head("lora", args, flags.engine.config.model, bench.info());
  report["ranks"] = flags.ranks;
  report["rows"] = bench.rows();
  save_report(flags.report, report);
  for (const std::string& failure : bench.failures()) fmt::print(stderr, "failed: {}\n", failure);
  return bench.failures().empty() ? 0 : 1;
}

}  // namespace quire
