// Cell memory of bench lora: N adapters of one base in one process against N processes with an
// adapter each, measured in processes that live at the same time.  The comparisons give them as
// much KV cache as they fill; the last gives each what the flags reserve, filled or not.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "base/error.h"
#include "cli/bench/bench_lora.h"
#include "cli/bench/child_process.h"
#include "cli/bench/lora_tenant.h"

namespace quire {
namespace {

constexpr double kMiB = 1048576.0;
// The null block, and one for the token after a prompt.
constexpr int64_t kSpareBlocks = 2;
// Left free on a GPU that processes divide among themselves.
constexpr int64_t kDividedReserveBytes = int64_t{512} << 20;

// Processes that live at the same time.
struct Arrangement {
  std::string name;
  std::string kv_cache = {};  // of a tenant: own, shared, reserved
  int64_t kv_tokens_per_tenant = 0;
  int num_processes = 1;
  int first_adapter = 0;
  int num_adapters = 1;     // of each process
  int64_t kv_tokens = 0;    // of each process
  int64_t arena_bytes = 0;  // of each process; 0 = as the flags say
};

// Of all processes of an arrangement.
struct Usage {
  TenantMemory sums;                // by owner
  std::vector<int64_t> host_bytes;  // proportional, of each process
  int64_t rest = 0;                 // used beside weights and arena: workspace, heap, contexts
  int64_t used = 0;                 // on a GPU of its memory, by anyone; else of the host's
  int64_t reserved = 0;             // used, or set aside

  int64_t of(const char* owner) const { return sums.at(owner); }
};

double reduction(int64_t from, int64_t to) {
  return 1.0 - static_cast<double>(to) / static_cast<double>(from);
}

class MemoryCell {
 public:
  explicit MemoryCell(LoraBench& bench);
  void run();

 private:
  bool on_gpu() const { return facts_.info.device != "cpu"; }
  int64_t arena_bytes(int num_adapters, int64_t kv_tokens) const;
  int64_t reserved_arena_bytes() const;
  std::unique_ptr<ChildProcess> start(const Arrangement& arrangement, int index) const;
  Usage measure(const Arrangement& arrangement);
  Usage add_up(const std::vector<TenantMemory>& processes) const;
  // Measures and reports; `several` is what the reductions are of, if this is one process.
  Usage compare(const Arrangement& arrangement, const Usage* several);
  void compare_with_kv(int64_t tokens);
  void compare_reserved();

  LoraBench& bench_;
  const int num_tenants_;
  TenantFacts facts_;
  Usage probe_;  // one process with its largest adapter
};

MemoryCell::MemoryCell(LoraBench& bench) : bench_(bench), num_tenants_(bench.flags().num_tenants) {
  // A process without adapters tells what they are to be made for.
  measure({.name = "base", .num_adapters = 0});
  bench.made().make(facts_.targets, num_tenants_);
  bench.set_info(facts_.info);
  const std::vector<int>& ranks = bench.made().ranks();
  const auto num_made =
      static_cast<ptrdiff_t>(std::min(ranks.size(), static_cast<size_t>(num_tenants_)));
  const auto largest = std::max_element(ranks.begin(), ranks.begin() + num_made);
  probe_ = measure({.name = "probe", .first_adapter = static_cast<int>(largest - ranks.begin())});
}

// What holds the tokens and the adapters, and little more.
int64_t MemoryCell::arena_bytes(int num_adapters, int64_t kv_tokens) const {
  const EngineInfo& info = facts_.info;
  const int64_t block_bytes = info.kv_cache_bytes / info.num_blocks;
  const int64_t adapter_blocks = probe_.of("adapters") / block_bytes;
  const int64_t kv_blocks =
      (kv_tokens + info.block_size - 1) / info.block_size * info.num_kv_cache_groups;
  // Each adapter has a prompt of its own, the last of which may take a block more in each group.
  const int64_t needed = kv_blocks + num_adapters * (adapter_blocks + info.num_kv_cache_groups) +
                         kSpareBlocks * info.num_kv_cache_groups;
  return std::max(needed, kLargestAdapterShare * adapter_blocks + kSpareBlocks) * block_bytes;
}

// What each process reserves: what one does by its flags, or, of a GPU, a part of that, so that all
// of them fit.
int64_t MemoryCell::reserved_arena_bytes() const {
  if (!on_gpu()) return probe_.of("arena");
  return probe_.used / num_tenants_ - (probe_.used - probe_.of("arena")) - kDividedReserveBytes;
}

std::unique_ptr<ChildProcess> MemoryCell::start(const Arrangement& arrangement, int index) const {
  MadeAdapters& made = bench_.made();
  TenantSpec spec{.lora_dir = made.folder(),
                  .kv_tokens = arrangement.kv_tokens,
                  .kv_cache_bytes = arrangement.arena_bytes};
  const int first = arrangement.first_adapter + index * arrangement.num_adapters;
  for (int i = 0; i < arrangement.num_adapters; ++i) spec.adapters.push_back(made.name(first + i));
  CommandArgs words = {"quire", "bench", "lora"};
  words.insert(words.end(), bench_.args().begin(), bench_.args().end());
  words.insert(words.end(), {"--tenant", to_line(spec)});
  return std::make_unique<ChildProcess>(
      ChildOptions{.words = words,
                   .log_path = fmt::format("{}/process-{}.log", made.folder(), index),
                   .talks = true});
}

Usage MemoryCell::measure(const Arrangement& arrangement) {
  std::vector<std::unique_ptr<ChildProcess>> processes;
  for (int i = 0; i < arrangement.num_processes; ++i) {
    processes.push_back(start(arrangement, i));
    facts_ = read_tenant_facts(processes.back()->read_line());  // one loads at a time
  }
  std::vector<TenantMemory> memories;
  for (const auto& process : processes) {
    process->write_line("");
    memories.push_back(nlohmann::json::parse(process->read_line()).get<TenantMemory>());
  }
  for (const auto& process : processes) process->finish();
  return add_up(memories);
}

Usage MemoryCell::add_up(const std::vector<TenantMemory>& processes) const {
  Usage usage;
  for (const TenantMemory& process : processes) {
    for (const auto& [owner, num_bytes] : process) usage.sums[owner] += num_bytes;
    usage.host_bytes.push_back(process.at("proportional"));
  }
  const int64_t filled = usage.of("weights") + usage.of("adapters") + usage.of("kv");
  const int64_t empty = usage.of("arena") - usage.of("adapters") - usage.of("kv");
  if (on_gpu()) {
    // Every process sees the others' memory as `other`: any of them knows the sum.
    const TenantMemory& any = processes.back();
    usage.used = any.at("weights") + any.at("arena") + any.at("workspace") + any.at("other");
    usage.reserved = usage.used;
    usage.rest = usage.used - filled - empty;
  } else {
    // Memory of the arena that nothing was written to is not there.
    usage.used = usage.of("proportional");
    usage.reserved = usage.used + empty;
    usage.rest = usage.used - filled;
  }
  return usage;
}

Usage MemoryCell::compare(const Arrangement& arrangement, const Usage* several) {
  const Usage usage = measure(arrangement);
  const auto mib = [](int64_t num_bytes) { return static_cast<double>(num_bytes) / kMiB; };
  const int64_t empty = usage.of("arena") - usage.of("adapters") - usage.of("kv");
  fmt::print("  {:<28} {:>8.0f} {:>8.1f} {:>8.0f} {:>6.0f} {:>8.0f} {:>8.0f}", arrangement.name,
             mib(usage.of("weights")), mib(usage.of("adapters")), mib(usage.of("kv")),
             mib(usage.rest), mib(usage.used), mib(usage.reserved));
  nlohmann::ordered_json row = {{"cell", "memory"},
                                {"arrangement", arrangement.name},
                                {"kv_cache", arrangement.kv_cache},
                                {"kv_tokens_per_tenant", arrangement.kv_tokens_per_tenant},
                                {"num_processes", arrangement.num_processes},
                                {"adapters_per_process", arrangement.num_adapters},
                                {"weights", usage.of("weights")},
                                {"adapters", usage.of("adapters")},
                                {"kv", usage.of("kv")},
                                {"empty_arena", empty},
                                {"workspace", usage.of("workspace")},
                                {"rest", usage.rest},
                                {"used", usage.used},
                                {"reserved", usage.reserved}};
  for (const char* kind : {"resident", "proportional", "anonymous", "unshared", "shared"}) {
    row["host"][kind] = usage.of(kind);
  }
  row["host"]["proportional_of_each"] = usage.host_bytes;
  if (several != nullptr) {
    row["reduction_of_used"] = reduction(several->used, usage.used);
    row["reduction_of_reserved"] = reduction(several->reserved, usage.reserved);
    fmt::print(" {:>7.1f}% {:>7.1f}%", -100 * reduction(several->used, usage.used),
               -100 * reduction(several->reserved, usage.reserved));
  }
  fmt::print("\n");
  bench_.add_row(std::move(row));
  return usage;
}

void MemoryCell::compare_with_kv(int64_t tokens) {
  fmt::print("{} tokens of KV cache per tenant\n", tokens);
  const int all = num_tenants_;
  const Usage several = compare({.name = fmt::format("{} processes", all),
                                 .kv_cache = "own",
                                 .kv_tokens_per_tenant = tokens,
                                 .num_processes = all,
                                 .kv_tokens = tokens,
                                 .arena_bytes = arena_bytes(1, tokens)},
                                nullptr);
  compare({.name = "one process",
           .kv_cache = "own",
           .kv_tokens_per_tenant = tokens,
           .num_adapters = all,
           .kv_tokens = all * tokens,
           .arena_bytes = arena_bytes(all, all * tokens)},
          &several);
  if (tokens == 0) return;
  compare({.name = "one process, shared cache",
           .kv_cache = "shared",
           .kv_tokens_per_tenant = tokens,
           .num_adapters = all,
           .kv_tokens = tokens,
           .arena_bytes = arena_bytes(all, tokens)},
          &several);
}

void MemoryCell::compare_reserved() {
  const int64_t arena = reserved_arena_bytes();
  if (arena < arena_bytes(num_tenants_, 0)) {
    fmt::print("The device is too small for {} processes that reserve memory.\n", num_tenants_);
    return;
  }
  fmt::print("{:.0f} MiB of KV cache reserved by each process\n",
             static_cast<double>(arena) / kMiB);
  const Usage several = compare({.name = fmt::format("{} processes", num_tenants_),
                                 .kv_cache = "reserved",
                                 .num_processes = num_tenants_,
                                 .arena_bytes = arena},
                                nullptr);
  compare({.name = "one process",
           .kv_cache = "reserved",
           .num_adapters = num_tenants_,
           .arena_bytes = arena},
          &several);
}

void MemoryCell::run() {
  fmt::print(
      "\nMemory of {} adapters, MiB\n{:<30} {:>8} {:>8} {:>8} {:>6} {:>8} {:>8} {:>8} {:>8}\n",
      num_tenants_, "", "weights", "adapters", "KV", "rest", "used", "reserved", "used -",
      "reserv -");
  for (const int64_t tokens : bench_.flags().tenant_kv_tokens) compare_with_kv(tokens);
  compare_reserved();
}

}  // namespace

void run_lora_memory(LoraBench& bench) { MemoryCell(bench).run(); }

}  // namespace quire
