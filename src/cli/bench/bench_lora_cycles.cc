// Cell cycles of bench lora: adapters loaded and unloaded over and over, with a request now and
// then.  What the process keeps of them is a leak.
#include <fmt/format.h>

#include "base/error.h"
#include "cli/bench/bench_engine.h"
#include "cli/bench/bench_lora.h"
#include "cli/bench/process_memory.h"
#include "cli/request_pool.h"
#include "engine/adapter_registry.h"

namespace quire {
namespace {

constexpr int kAdapters = 8;  // in turn; their contents differ
constexpr int kCyclesPerRequest = 50;
constexpr int kWarmUpCycles = 400;  // each adapter has been in the arena when counting starts
constexpr int kEarlyCycles = 1000;  // a report in between

void load_and_unload(LoraBench& bench, EngineClient& engine, int cycle) {
  AdapterRegistry& registry = *engine.adapters();
  const int index = cycle % kAdapters;
  const std::string name = fmt::format("cycle-{}", cycle);
  const auto added = registry.add({.lora_name = name, .lora_path = bench.made().path(index)});
  if (!added) throw LoadError(added.error().message);
  if (cycle % kCyclesPerRequest == 0) {
    run_on_engine(engine, bench.prompts(engine, 1, 2), {.adapters = {name}});
  }
  if (const auto removed = registry.remove(name); !removed) {
    throw LoadError(removed.error().message);
  }
}

int64_t run_cycles(LoraBench& bench, EngineClient& engine, int first, int last) {
  for (int cycle = first; cycle < last; ++cycle) load_and_unload(bench, engine, cycle);
  return read_process_memory().proportional;
}

}  // namespace

void run_lora_cycles(LoraBench& bench) {
  const LoraBenchFlags& flags = bench.flags();
  EngineClient& engine = bench.engine();
  bench.made().make(engine.adapters()->config().shape.targets, kAdapters);
  const int64_t start = run_cycles(bench, engine, 0, kWarmUpCycles);
  const Clock::time_point begin = Clock::now();
  const int early = std::min(kEarlyCycles, flags.num_cycles);
  const int64_t early_bytes = run_cycles(bench, engine, 0, early);
  const int64_t end = run_cycles(bench, engine, early, flags.num_cycles);
  const double seconds = seconds_since(begin);
  const auto mb = [](int64_t num_bytes) { return static_cast<double>(num_bytes) / 1e6; };
  fmt::print(
      "\n{} adapters loaded and unloaded in {:.1f} s: memory {:.1f} MB at the start, {:.1f} MB "
      "after {}, {:.1f} MB at the end\n",
      flags.num_cycles, seconds, mb(start), mb(early_bytes), early, mb(end));
  bench.add_row({{"cell", "cycles"},
                 {"num_cycles", flags.num_cycles},
                 {"seconds", seconds},
                 {"start_bytes", start},
                 {"early_cycles", early},
                 {"early_bytes", early_bytes},
                 {"end_bytes", end},
                 {"max_growth_bytes", flags.max_growth_bytes}});
  if (end - start > flags.max_growth_bytes) {
    bench.fail(
        fmt::format("the process grew by {:.1f} MB over {} cycles, by more than --max-growth",
                    mb(end - start), flags.num_cycles));
  }
}

}  // namespace quire
