// Renders of collected chat templates against Python's jinja2, where the data is present.
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "text/jinja/interpreter.h"
#include "text/jinja/parser.h"

namespace quire::jinja {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

const fs::path kData = fs::path(QUIRE_SOURCE_DIR) / "../shared/data";

std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return std::move(text).str();
}

// 2025-07-10 12:00:00, the clock of the goldens.
std::tm golden_clock() {
  std::tm now{};
  now.tm_year = 125;
  now.tm_mon = 6;
  now.tm_mday = 10;
  now.tm_hour = 12;
  now.tm_wday = 4;
  now.tm_yday = 190;
  return now;
}

struct Outcome {
  bool failed;
  std::string text;  // or the reason
};

Outcome render(const std::string& source, const Json& context) {
  try {
    const Template syntax = parse_template(source);
    return {false, Interpreter(syntax, context, golden_clock()).run()};
  } catch (const TemplateError& error) {
    return {true, error.what()};
  }
}

TEST(ChatTemplateGolden, EqualsPythonOnCollectedTemplates) {
  const fs::path folder = kData / "goldens/jinja-python";
  if (!fs::exists(folder)) GTEST_SKIP() << "no golden renders at " << folder;
  const Json contexts = Json::parse(read_file(folder / "contexts.json"));
  std::map<std::string, std::string> sources;
  int num_renders = 0;
  int num_equal = 0;
  std::ifstream lines(folder / "renders.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const Json golden = Json::parse(line);
    const auto name = golden.at("template").get<std::string>();
    const auto context_name = golden.at("context").get<std::string>();
    std::string& source = sources[name];
    if (source.empty()) source = read_file(kData / name);
    Json context = contexts.at("defaults");
    context.update(contexts.at("contexts").at(context_name));
    const Outcome outcome = render(source, context);
    const bool expects_failure = golden.contains("error");
    const bool equal = outcome.failed == expects_failure &&
                       (expects_failure || outcome.text == golden.at("output").get<std::string>());
    ++num_renders;
    num_equal += equal ? 1 : 0;
    EXPECT_TRUE(equal) << name << " with " << context_name
                       << "\nexpected: " << golden.value(expects_failure ? "message" : "output", "")
                       << "\nours: " << outcome.text;
  }
  EXPECT_GT(num_renders, 0);
  RecordProperty("num_renders", num_renders);
  RecordProperty("num_equal", num_equal);
}

}  // namespace
}  // namespace quire::jinja
