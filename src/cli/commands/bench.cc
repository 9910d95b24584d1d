// quire bench: the table of measurements.
#include <array>
#include <cstdio>

#include "base/error.h"
#include "cli/command.h"

namespace quire {
namespace {

struct Benchmark {
  const char* name;
  const char* summary;
  int (*run)(const CommandArgs& args);
};

constexpr std::array kBenchmarks{
    Benchmark{"latency", "time of one batch, in this process", run_bench_latency},
    Benchmark{"throughput", "tokens per second of many prompts, in this process",
              run_bench_throughput},
    Benchmark{"lora", "what adapters cost: steps, throughput, memory, loading", run_bench_lora},
    Benchmark{"serve", "TTFT, TPOT, ITL and throughput of any OpenAI server", run_bench_serve},
    Benchmark{"startup", "process start to first token", run_bench_startup},
};

}  // namespace

int run_bench(const CommandArgs& args) {
  for (const Benchmark& benchmark : kBenchmarks) {
    if (!args.empty() && args[0] == benchmark.name) {
      return benchmark.run(CommandArgs(args.begin() + 1, args.end()));
    }
  }
  if (!args.empty() && args[0] != "--help" && args[0] != "-h") {
    throw LoadError("there is no benchmark " + args[0] + "; see quire bench --help");
  }
  std::printf("Usage: quire bench NAME [MODEL] [FLAGS]\n\n");
  for (const Benchmark& benchmark : kBenchmarks) {
    std::printf("  %-12s %s\n", benchmark.name, benchmark.summary);
  }
  std::printf("\n  quire bench NAME --help   its flags\n");
  return 0;
}

}  // namespace quire
