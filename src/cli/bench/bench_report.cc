#include "cli/bench/bench_report.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "cli/hardware.h"

namespace quire {
namespace {

std::string quoted(const std::string& word) {
  return word.find_first_of(" \"'$\\") == std::string::npos ? word : "'" + word + "'";
}

// The command line, without keys.
std::string command_line(const std::string& benchmark, const CommandArgs& args) {
  std::string line = "quire bench " + benchmark;
  bool hide = false;
  for (const std::string& word : args) {
    line +=
        " " + (hide ? "***" : quoted(word.rfind("--api-key=", 0) == 0 ? "--api-key=***" : word));
    hide = word == "--api-key";
  }
  return line;
}

}  // namespace

void add_report_flags(CLI::App& app, ReportFlags& flags) {
  app.option_defaults()->group("Result");
  app.add_option("--output-json", flags.output_json, "Write the result to this file")
      ->type_name("FILE");
  app.add_flag("--save-result", flags.save_result,
               "Write the result to a file named after benchmark, model and time");
  app.add_option("--result-dir", flags.result_dir, "Where --save-result writes")->type_name("DIR");
  app.add_option("--result-filename", flags.result_filename, "The name --save-result uses")
      ->type_name("NAME");
}

nlohmann::ordered_json report_head(const std::string& benchmark, const CommandArgs& args,
                                   const std::string& model, const EngineInfo* info) {
  nlohmann::ordered_json hardware = hardware_json(read_hardware());
  if (info != nullptr) {
    hardware["device"] = info->device;
    hardware["kernels"] = info->kernels;
    hardware["num_threads"] = info->num_threads;
  }
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  nlohmann::ordered_json head = {{"benchmark", benchmark},
                                 {"date", fmt::format("{:%Y%m%d-%H%M%S}", fmt::gmtime(now))},
                                 {"command", command_line(benchmark, args)},
                                 {"model", model},
                                 {"hardware", hardware}};
  if (info != nullptr) {
    head["architecture"] = info->architecture;
    head["dtype"] = info->dtype;
  }
  return head;
}

void save_report(const ReportFlags& flags, const nlohmann::ordered_json& report) {
  std::vector<std::string> paths;
  if (!flags.output_json.empty()) {
    paths.push_back(flags.output_json);
  }
  if (flags.save_result) {
    std::string name = flags.result_filename;
    if (name.empty()) {
      name = fmt::format("{}-{}-{}.json", report["benchmark"].get<std::string>(),
                         report["model"].get<std::string>(), report["date"].get<std::string>());
      std::replace(name.begin(), name.end(), '/', '_');
    }
    paths.push_back((std::filesystem::path(flags.result_dir) / name).string());
  }
  for (const std::string& path : paths) {
    std::ofstream file(path);
    file << report.dump(2) << '\n';
    if (!file.flush()) {
      throw LoadError("cannot write " + path);
    }
    fmt::print(stderr, "result in {}\n", path);
  }
}

}  // namespace quire
