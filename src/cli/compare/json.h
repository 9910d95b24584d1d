// What quire compare-adapters has found, for programs.
#pragma once

#include <nlohmann/json.hpp>

#include "cli/compare/report.h"

namespace quire {

// Times in ms, sizes in bytes; "adapter" is null for the base model.
nlohmann::ordered_json json_report(const CompareReport& report);

}  // namespace quire
