// quire bench startup: from the start of a `quire serve` process to its first token.
#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <thread>

#include "base/error.h"
#include "cli/bench/bench_report.h"
#include "cli/bench/bench_stats.h"
#include "cli/bench/child_process.h"
#include "cli/bench/process_memory.h"
#include "cli/command.h"
#include "cli/flags.h"
#include "cli/http_client.h"
#include "cli/human_number.h"
#include "cli/local_model.h"
#include "cli/request_pool.h"

namespace quire {
namespace {

constexpr std::chrono::milliseconds kRetryInterval(2);  // the resolution of the measurement

// A port that was free a moment ago.
uint16_t free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool bound = fd >= 0 && bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(fd);
  if (!bound) {
    throw LoadError("no free port on 127.0.0.1");
  }
  return ntohs(address.sin_port);
}

struct Startup {
  double ready_s = 0;          // the first answered HTTP request
  double first_token_s = 0;    // the answer of a completion with one token
  int64_t resident_bytes = 0;  // of host memory, then
};

Startup measure(const EngineFlags& flags, const CommandArgs& engine_args) {
  const uint16_t port = free_port();
  const std::string root = fmt::format("http://127.0.0.1:{}", port);
  const std::string log_path = fmt::format("/tmp/quire-bench-startup-{}.log", getpid());
  CommandArgs words = {"quire", "serve"};
  words.insert(words.end(), engine_args.begin(), engine_args.end());
  words.insert(words.end(), {"--host", "127.0.0.1", "--port", std::to_string(port)});
  Startup result;
  const Clock::time_point start = Clock::now();
  ChildProcess child({.words = words, .log_path = log_path});
  while (HttpClient::fetch({.url = root + "/health", .timeout_s = 1}).status != 200) {
    if (!child.running()) {
      throw LoadError("quire serve ended before it answered; its output is in " + log_path);
    }
    std::this_thread::sleep_for(kRetryInterval);
  }
  result.ready_s = seconds_since(start);
  const nlohmann::json body = {
      {"model", flags.config.model}, {"prompt", "Hello"}, {"max_tokens", 1}};
  const HttpResult answer =
      HttpClient::fetch({.url = root + "/v1/completions", .body = body.dump()});
  if (!answer.ok()) {
    throw LoadError("the first completion failed: " + answer.message());
  }
  result.first_token_s = seconds_since(start);
  result.resident_bytes = read_process_memory(child.pid()).resident;
  unlink(log_path.c_str());
  return result;
}

// The words of `args` but for this benchmark's own flags: what the server is started with.
CommandArgs server_args(const CommandArgs& args) {
  constexpr std::array kOwn{"--num-iters", "--output-json", "--save-result", "--result-dir",
                            "--result-filename"};
  CommandArgs kept;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string name = args[i].substr(0, args[i].find('='));
    if (std::find(kOwn.begin(), kOwn.end(), name) == kOwn.end()) {
      kept.push_back(args[i]);
    } else if (name == args[i] && name != "--save-result") {
      ++i;  // its value
    }
  }
  return kept;
}

}  // namespace

int run_bench_startup(const CommandArgs& args) {
  CLI::App app("Measure process start to first token of `quire serve` with these engine flags.",
               "bench startup");
  set_up_app(app);
  EngineFlags flags;
  ReportFlags report_flags;
  int num_iters = 5;
  add_human_int(app, "--num-iters", num_iters, "Processes started", 1);
  add_report_flags(app, report_flags);
  add_engine_flags(app, flags);
  if (!parse_flags(app, args)) {
    return 0;
  }
  settle_model(flags);
  std::vector<double> ready;
  std::vector<double> first_token;
  std::vector<int64_t> resident;
  for (int i = 0; i < num_iters; ++i) {
    const Startup startup = measure(flags, server_args(args));
    ready.push_back(startup.ready_s);
    first_token.push_back(startup.first_token_s);
    resident.push_back(startup.resident_bytes);
    fmt::print("start {}: ready after {:.3f} s, first token after {:.3f} s; {} of host memory\n",
               i + 1, startup.ready_s, startup.first_token_s, format_bytes(startup.resident_bytes));
  }
  const Distribution ready_times = distribution(ready, {});
  const Distribution token_times = distribution(first_token, {});
  fmt::print("median: ready after {:.3f} s, first token after {:.3f} s\n", ready_times.median,
             token_times.median);
  nlohmann::ordered_json report = report_head("startup", args, flags.config.model, nullptr);
  report.update(nlohmann::ordered_json{{"ready_s", ready},
                                       {"first_token_s", first_token},
                                       {"median_ready_s", ready_times.median},
                                       {"median_first_token_s", token_times.median},
                                       {"resident_host_bytes", resident}});
  save_report(report_flags, report);
  return 0;
}

}  // namespace quire
