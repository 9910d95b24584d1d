#include "cli/result_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "base/error.h"
#include "support/temp_dir.h"

namespace quire {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

const Json kRun = {{"input_fingerprint", "ab"}, {"sampling", {{"temperature", 0}}}};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

Json make_row(int64_t index) {
  return {{"index", index},
          {"outputs", {{{"text", "answer \"" + std::to_string(index * 37) + "\"\n\xC3\xA9"}}}},
          {"num_prompt_tokens", 2},
          {"num_generated_tokens", index}};
}

std::string load_error(const std::string& directory, const Json& run) {
  try {
    ResultStore store(directory, run);
  } catch (const LoadError& error) {
    return error.what();
  }
  return "";
}

TEST(ResultStore, FinishSortsByIndex) {
  const TempDir dir;
  const std::string directory = dir.path() + "/out";
  std::string expected;
  {
    ResultStore store(directory, kRun);
    for (const int64_t index : {4, 1, 3, 0, 2}) {
      store.append_result(make_row(index));
    }
    store.finish();
    store.append_result(make_row(5));  // appending goes on in the sorted file
  }
  for (int64_t index = 0; index <= 5; ++index) {
    expected += make_row(index).dump() + "\n";
  }
  EXPECT_EQ(read_file(directory + "/results.jsonl"), expected);
  ResultStore again(directory, kRun);
  EXPECT_EQ(again.num_results(), 6);
  EXPECT_EQ(again.num_prompt_tokens(), 12);
  EXPECT_EQ(again.num_generated_tokens(), 15);
}

// A crash may leave any prefix of the file.  Whatever it is, going on gives each row once, and the
// same bytes as a run without a crash.
TEST(ResultStore, ResumesFromEveryPrefixOfTheFile) {
  const TempDir dir;
  const std::string directory = dir.path() + "/out";
  const std::vector<int64_t> order = {2, 0, 1, 3};
  {
    ResultStore store(directory, kRun);
    for (const int64_t index : order) {
      store.append_result(make_row(index));
    }
  }
  const std::string full = read_file(directory + "/results.jsonl");
  std::string finished;
  for (int64_t index = 0; index < 4; ++index) {
    finished += make_row(index).dump() + "\n";
  }
  for (size_t size = 0; size <= full.size(); ++size) {
    std::ofstream(directory + "/results.jsonl", std::ios::binary) << full.substr(0, size);
    ResultStore store(directory, kRun);
    for (int64_t index = 0; index < 4; ++index) {
      if (!store.is_done(index)) {
        store.append_result(make_row(index));
      }
    }
    store.finish();
    ASSERT_EQ(read_file(directory + "/results.jsonl"), finished) << "cut at byte " << size;
  }
}

TEST(ResultStore, RefusesAnotherRunsDirectory) {
  const TempDir dir;
  {
    ResultStore store(dir.path(), kRun);
  }
  Json other = kRun;
  other["sampling"]["temperature"] = 1;
  const std::string message = load_error(dir.path(), other);
  EXPECT_THAT(message, HasSubstr("sampling"));
  EXPECT_THAT(message, HasSubstr("choose another --output"));
  EXPECT_EQ(load_error(dir.path(), kRun), "");
}

TEST(ResultStore, RefusesADirectoryInUse) {
  const TempDir dir;
  const ResultStore store(dir.path(), kRun);
  EXPECT_THAT(load_error(dir.path(), kRun), HasSubstr("another quire"));
}

TEST(ResultStore, RefusesResultsThatItDidNotWrite) {
  const TempDir dir;
  dir.write("results.jsonl", "{\"index\": 0}\n");
  EXPECT_THAT(load_error(dir.path(), kRun), HasSubstr("without its run.json"));
  EXPECT_EQ(read_file(dir.path() + "/results.jsonl"), "{\"index\": 0}\n");
}

TEST(ResultStore, NamesADamagedRow) {
  const TempDir dir;
  {
    ResultStore store(dir.path(), kRun);
  }
  dir.write("results.jsonl", "{\"index\": 0}\ngarbage\n{\"index\": 1}\n");
  EXPECT_THAT(load_error(dir.path(), kRun), HasSubstr("results.jsonl:2"));
  dir.write("results.jsonl", "{\"index\": 0}\n{\"index\": 0}\n");
  EXPECT_THAT(load_error(dir.path(), kRun), HasSubstr("twice"));
}

TEST(ResultStore, ErrorsCountAsDone) {
  const TempDir dir;
  {
    ResultStore store(dir.path(), kRun);
    store.append_error({{"index", 1}, {"line", "not utf-8: \xff"}});
  }
  const ResultStore store(dir.path(), kRun);
  EXPECT_TRUE(store.is_done(1));
  EXPECT_FALSE(store.is_done(0));
  EXPECT_EQ(store.num_errors(), 1);
}

}  // namespace
}  // namespace quire
