// A directory that lives as long as a test, and writing files into it.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/check.h"

namespace quire {

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "quire_test_XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr, "cannot make ", pattern);
    path_ = pattern;
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }
  // Writes NAME in the directory, replacing it, and returns its path.
  std::string write(const std::string& name, const std::string& content) const {
    const std::string file = path_ + "/" + name;
    std::filesystem::remove(file);  // it may be a link into the source tree
    std::ofstream(file, std::ios::binary) << content;
    return file;
  }
  // Links every file of `directory` here.
  void link_all(const std::string& directory) const {
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
      std::filesystem::create_symlink(entry.path(), path_ + "/" + entry.path().filename().string());
    }
  }

 private:
  std::string path_;
};

}  // namespace quire
