// The commands of the quire binary.  main.cc holds the table.
#pragma once

#include <string>
#include <vector>

namespace quire {

// The words after the command's name.
using CommandArgs = std::vector<std::string>;

// Each parses its flags, runs, and returns the process's exit status.
// All throw LoadError on bad flags, unreadable files and models that cannot be loaded.
int run_serve(const CommandArgs& args);
int run_chat(const CommandArgs& args);
int run_complete(const CommandArgs& args);
int run_generate(const CommandArgs& args);
int run_compare_adapters(const CommandArgs& args);
int run_bench(const CommandArgs& args);
int run_bench_latency(const CommandArgs& args);
int run_bench_throughput(const CommandArgs& args);
int run_bench_lora(const CommandArgs& args);
int run_bench_serve(const CommandArgs& args);
int run_bench_startup(const CommandArgs& args);
int run_collect_env(const CommandArgs& args);

}  // namespace quire
