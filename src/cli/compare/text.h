// What quire compare-adapters has found, for people.
#pragma once

#include <string>

#include "cli/compare/report.h"

namespace quire {

// Answers in columns in lines of at most `width` terminal cells, and what was measured below.
std::string text_report(const CompareReport& report, int width);

}  // namespace quire
