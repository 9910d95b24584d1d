// Result files of benchmarks: the numbers, and what is needed to believe them.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command.h"
#include "engine/engine_client.h"

namespace quire {

struct ReportFlags {
  std::string output_json;   // file; empty = none
  bool save_result = false;  // under a name made of benchmark, model and time
  std::string result_dir = ".";
  std::string result_filename;
};

void add_report_flags(CLI::App& app, ReportFlags& flags);

// {"benchmark", "date", "command", "model", "hardware": {...}}; `info` null for a remote server.
nlohmann::ordered_json report_head(const std::string& benchmark, const CommandArgs& args,
                                   const std::string& model, const EngineInfo* info);

// Writes the report where the flags say and tells so on stderr.  Throws LoadError.
void save_report(const ReportFlags& flags, const nlohmann::ordered_json& report);

}  // namespace quire
