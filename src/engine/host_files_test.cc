// What is read from the machine: free memory and model directories.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "engine/host_memory.h"
#include "engine/model_path.h"

namespace quire {
namespace {

namespace fs = std::filesystem;

class HostFilesTest : public testing::Test {
 protected:
  HostFilesTest()
      : root_(fs::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(root_);
  }
  ~HostFilesTest() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& content) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << content;
  }

  fs::path root_;
};

TEST_F(HostFilesTest, FreeMemoryIsTheSystemsOrTheGroups) {
  EXPECT_EQ(available_memory_bytes(root_.string()), 0);
  write("proc/meminfo", "MemTotal: 100 kB\nMemFree: 5 kB\nMemAvailable: 50 kB\n");
  EXPECT_EQ(available_memory_bytes(root_.string()), 50 * 1024);
  write("sys/fs/cgroup/memory.max", "max\n");
  write("sys/fs/cgroup/memory.current", "1024\n");
  EXPECT_EQ(available_memory_bytes(root_.string()), 50 * 1024);
  write("sys/fs/cgroup/memory.max", "3072\n");
  EXPECT_EQ(available_memory_bytes(root_.string()), 2048);
}

TEST_F(HostFilesTest, ADirectoryIsTakenAsItStands) {
  write("model/config.json", "{}");
  EXPECT_EQ(resolve_model_path((root_ / "model").string()), (root_ / "model").string());
  fs::create_directories(root_ / "empty");
  EXPECT_THROW(resolve_model_path((root_ / "empty").string()), LoadError);
}

TEST_F(HostFilesTest, AHubIdIsFoundInTheCache) {
  write("models--org--name/refs/main", "abc123");
  write("models--org--name/snapshots/abc123/config.json", "{}");
  write("models--org--name/snapshots/def456/config.json", "{}");
  setenv("HF_HUB_CACHE", root_.c_str(), 1);
  const fs::path snapshots = root_ / "models--org--name/snapshots";
  EXPECT_EQ(resolve_model_path("org/name"), (snapshots / "abc123").string());
  EXPECT_EQ(resolve_model_path("org/name@def456"), (snapshots / "def456").string());
  try {
    resolve_model_path("org/other");
    ADD_FAILURE() << "found a model that is not there";
  } catch (const LoadError& error) {
    EXPECT_NE(std::string(error.what()).find("models--org--other"), std::string::npos);
  }
  unsetenv("HF_HUB_CACHE");
}

}  // namespace
}  // namespace quire
