// quire collect-env: the facts a bug report needs, and no secrets (no environment but two cache
// paths).
#include <curl/curl.h>
#include <fmt/format.h>
#include <spdlog/version.h>

#include <CLI/CLI.hpp>
#include <filesystem>

#include "cli/command.h"
#include "cli/flags.h"
#include "cli/hardware.h"
#include "cli/human_number.h"
#include "cli/version.h"
#include "engine/engine.h"
#include "engine/model_path.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

void row(const char* name, const std::string& value) {
  fmt::print("{:<22} {}\n", name, value.empty() ? "unknown" : value);
}

void print_models() {
  const fs::path cache = hub_cache_path();
  row("model cache", cache.string());
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(cache, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("models--", 0) == 0) {
      row("  cached model", name.substr(8));
    }
  }
}

}  // namespace

int run_collect_env(const CommandArgs& args) {
  CLI::App app("Describe this machine and this build, for a bug report.", "collect-env");
  set_up_app(app);
  if (!parse_flags(app, args)) {
    return 0;
  }
  const Hardware hardware = read_hardware();
  row("quire",
      fmt::format("{} ({}), {} build", version_string(), version_commit(), version_build_type()));
  row("compiler", version_compiler());
  row("operating system", hardware.os);
  row("kernel", hardware.kernel);
  row("CPU", hardware.cpu_model);
  row("instruction sets", fmt::format("{}", fmt::join(hardware.isa_levels, " ")));
  row("kernels", fmt::format("{}", fmt::join(available_cpu_isas(), " ")));
  row("cores", fmt::format("{} online, {} allowed to this process", hardware.num_cores_online,
                           hardware.num_cores_allowed));
  row("memory", fmt::format("{}, {} available", format_bytes(hardware.memory_bytes),
                            format_bytes(hardware.memory_available_bytes)));
  row("cgroup CPU limit", hardware.cgroup_cpu_limit > 0
                              ? fmt::format("{:.2f} cores", hardware.cgroup_cpu_limit)
                              : "none");
  row("cgroup memory limit", hardware.cgroup_memory_limit_bytes > 0
                                 ? format_bytes(hardware.cgroup_memory_limit_bytes)
                                 : "none");
  row("libraries", fmt::format("{}, spdlog {}.{}.{}, fmt {}, CLI11 {}, nlohmann-json {}.{}.{}",
                               curl_version(), SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH,
                               FMT_VERSION, CLI11_VERSION, NLOHMANN_JSON_VERSION_MAJOR,
                               NLOHMANN_JSON_VERSION_MINOR, NLOHMANN_JSON_VERSION_PATCH));
  print_models();
  return 0;
}

}  // namespace quire
