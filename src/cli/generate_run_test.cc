#include "cli/generate_run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "base/error.h"
#include "support/byte_tokenizer.h"
#include "support/echo_engine.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using testing::HasSubstr;

constexpr int kNumPrompts = 40;

class GenerateRunTest : public testing::Test {
 protected:
  // A new process: engine and model anew.  crash_after: requests until the engine throws; -1 =
  // never.
  GenerateCounts run_once(int crash_after) {
    LocalModel model;
    model.tokenizer = std::make_unique<ByteTokenizer>();
    auto engine = std::make_unique<EchoEngine>(model.tokenizer->vocab_size());
    engine->crash_after(crash_after);
    EchoEngine& echo = *engine;
    model.engine = std::move(engine);
    ResultStore store(output_, {{"run", 1}});
    ProgressBar progress(kNumPrompts, 0);
    const std::atomic<bool> interrupted = false;
    const GenerateCounts counts = GenerateRun(options_, model, store).run(interrupted, progress);
    num_requests_ = echo.num_added();
    store.finish();
    return counts;
  }

  std::string results() const {
    std::ifstream file(output_ + "/results.jsonl", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  void write_input() {
    std::string lines;
    for (int i = 0; i < kNumPrompts; ++i) {
      lines += nlohmann::json({{"prompt", "prompt " + std::to_string(i)},
                               {"id", i * 10},
                               {"max_tokens", 1 + i % 5}})
                   .dump() +
               "\n";
    }
    options_.input = dir_.write("in.jsonl", lines);
    options_.max_in_flight = 7;
  }

  TempDir dir_;
  std::string output_ = dir_.path() + "/out";
  GenerateOptions options_;
  int num_requests_ = 0;
};

TEST_F(GenerateRunTest, WritesOneRowPerPromptInOrder) {
  write_input();
  EXPECT_EQ(run_once(-1).num_results, kNumPrompts);
  std::istringstream rows(results());
  std::string row;
  for (int i = 0; i < kNumPrompts; ++i) {
    ASSERT_TRUE(std::getline(rows, row));
    const auto json = nlohmann::json::parse(row);
    EXPECT_EQ(json["index"], i);
    EXPECT_EQ(json["id"], i * 10);
    EXPECT_EQ(json["prompt"], "prompt " + std::to_string(i));
    EXPECT_EQ(json["outputs"][0]["text"].get<std::string>().size(), 1U + i % 5);
    EXPECT_EQ(json["outputs"][0]["finish_reason"], "length");
    EXPECT_EQ(json["num_generated_tokens"], 1 + i % 5);
  }
  EXPECT_FALSE(std::getline(rows, row));
}

// A process that dies at random moments, its file cut at a random byte each time, ends with the
// bytes of one that does not.
TEST_F(GenerateRunTest, CrashesAtRandomMomentsChangeNothing) {
  write_input();
  run_once(-1);
  const std::string expected = results();
  for (unsigned seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    std::filesystem::remove_all(output_);
    bool finished = false;
    while (!finished) {
      try {
        run_once(static_cast<int>(random() % 25));
        finished = true;
      } catch (const EchoEngine::Crash&) {
        const std::string path = output_ + "/results.jsonl";
        const auto size = std::filesystem::file_size(path);
        const auto torn = std::min<uintmax_t>(size, random() % 200);
        std::filesystem::resize_file(path, size - torn);
      }
    }
    ASSERT_EQ(results(), expected) << "seed " << seed;
  }
}

TEST_F(GenerateRunTest, AFinishedRunAsksTheEngineForNothing) {
  write_input();
  run_once(-1);
  EXPECT_EQ(run_once(0).num_results, 0);
  EXPECT_EQ(num_requests_, 0);
}

TEST_F(GenerateRunTest, BadLineEndsTheRunButKeepsTheOthers) {
  options_.input =
      dir_.write("in.jsonl", "\"a\"\n{\"prompt\": \"b\", \"temperature\": -3}\n\"c\"\n");
  options_.max_in_flight = 7;
  try {
    run_once(-1);
    FAIL() << "the bad line went unnoticed";
  } catch (const LoadError& error) {
    EXPECT_THAT(error.what(), HasSubstr("in.jsonl:2"));
    EXPECT_THAT(error.what(), HasSubstr("--skip-bad-lines"));
  }
  options_.bad_lines = BadLines::kSkip;
  EXPECT_EQ(run_once(-1).num_results, 1);  // "a" was kept
  std::ifstream errors(output_ + "/errors.jsonl");
  std::string row;
  ASSERT_TRUE(std::getline(errors, row));
  EXPECT_EQ(nlohmann::json::parse(row)["index"], 1);
}

TEST_F(GenerateRunTest, SeveralCompletionsStandInOneRow) {
  options_.input = dir_.write("in.jsonl", "{\"prompt\": \"a\", \"n\": 3, \"max_tokens\": 4}\n");
  options_.max_in_flight = 1;
  run_once(-1);
  const auto json = nlohmann::json::parse(results());
  EXPECT_EQ(json["outputs"].size(), 3U);
  EXPECT_EQ(json["num_generated_tokens"], 12);
}

}  // namespace
}  // namespace quire
