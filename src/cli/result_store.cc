#include "cli/result_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "base/error.h"

namespace quire {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

[[noreturn]] void fail(const std::string& action, const std::string& path) {
  throw LoadError(fmt::format("cannot {} {}: {}", action, path, std::strerror(errno)));
}

void write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) {
      fail("write to", path);
    }
    bytes.remove_prefix(written > 0 ? static_cast<size_t>(written) : 0);
  }
}

// Makes a rename in the directory of `path` durable.
void sync_directory(const std::string& path) {
  const int fd = open(fs::path(path).parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) {
    fsync(fd);
    close(fd);
  }
}

int open_or_fail(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC, 0644);
  if (fd < 0) {
    fail("open", path);
  }
  return fd;
}

// Writes `content` under a temporary name, then renames: a reader sees the old file or the new one.
void replace_file(const std::string& path, std::string_view content) {
  const std::string temporary = path + ".tmp";
  const int fd = open_or_fail(temporary, O_WRONLY | O_CREAT | O_TRUNC);
  write_all(fd, content, temporary);
  fsync(fd);
  close(fd);
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    fail("replace", path);
  }
  sync_directory(path);
}

int64_t int_at(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}

}  // namespace

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) {
    close(fd_);
  }
}

RowFile::RowFile(std::string path) : path_(std::move(path)) {
  fd_ = FileDescriptor(open_or_fail(path_, O_RDWR | O_CREAT | O_APPEND));
  read_rows();
  if (ftruncate(fd_.get(), num_bytes_) != 0) {
    fail("cut the torn last row of", path_);
  }
}

void RowFile::read_rows() {
  std::ifstream file(path_, std::ios::binary);
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (file.eof()) {
      return;  // no line end: torn while it was written
    }
    const Json row = Json::parse(line, nullptr, false);
    if (!row.is_object() || !row.contains("index") || !row["index"].is_number_integer()) {
      throw LoadError(
          fmt::format("{}:{}: is not a result row; restore the file, or choose another --output",
                      path_, number));
    }
    add_row(row, num_bytes_);
    num_bytes_ += static_cast<int64_t>(line.size()) + 1;
  }
}

void RowFile::add_row(const Json& row, int64_t offset) {
  rows_.push_back({row["index"].get<int64_t>(), offset});
  num_prompt_tokens_ += int_at(row, "num_prompt_tokens");
  num_generated_tokens_ += int_at(row, "num_generated_tokens");
}

void RowFile::append(const Json& row) {
  // Bytes that are no UTF-8 can only stand in a line echoed into errors.jsonl.
  std::string line = row.dump(-1, ' ', false, Json::error_handler_t::replace);
  line.push_back('\n');
  write_all(fd_.get(), line, path_);
  add_row(row, num_bytes_);
  num_bytes_ += static_cast<int64_t>(line.size());
}

void RowFile::sort() {
  const auto by_index = [](const Row& a, const Row& b) { return a.index < b.index; };
  fsync(fd_.get());
  if (std::is_sorted(rows_.begin(), rows_.end(), by_index)) {
    return;
  }
  std::sort(rows_.begin(), rows_.end(), by_index);
  std::ifstream from(path_, std::ios::binary);
  const std::string temporary = path_ + ".tmp";
  FileDescriptor sorted(open_or_fail(temporary, O_RDWR | O_CREAT | O_TRUNC | O_APPEND));
  int64_t offset = 0;
  std::string line;
  for (Row& row : rows_) {
    from.seekg(row.offset);
    CHECK(std::getline(from, line).good(), path_, " shrank while it was sorted");
    line.push_back('\n');
    write_all(sorted.get(), line, temporary);
    row.offset = offset;
    offset += static_cast<int64_t>(line.size());
  }
  fsync(sorted.get());
  if (rename(temporary.c_str(), path_.c_str()) != 0) {
    fail("replace", path_);
  }
  sync_directory(path_);
  fd_ = std::move(sorted);
}

ResultStore::ResultStore(const std::string& directory, const Json& run) : directory_(directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    throw LoadError("cannot create " + directory + ": " + error.message());
  }
  take_lock_and_check(run);
  results_ = std::make_unique<RowFile>(directory + "/results.jsonl");
  errors_ = std::make_unique<RowFile>(directory + "/errors.jsonl");
  for (const RowFile* file : {results_.get(), errors_.get()}) {
    for (const RowFile::Row& row : file->rows()) {
      if (is_done(row.index) || row.index < 0) {
        throw LoadError(
            fmt::format("{}: the row of index {} is there twice; choose another --output",
                        directory, row.index));
      }
      mark_done(row.index);
    }
  }
}

void ResultStore::take_lock_and_check(const Json& run) {
  lock_ = FileDescriptor(open_or_fail(directory_ + "/run.lock", O_RDWR | O_CREAT));
  if (flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    throw LoadError(directory_ +
                    " is being written by another quire; wait for it or choose another "
                    "--output");
  }
  const std::string path = directory_ + "/run.json";
  if (!fs::exists(path)) {
    if (fs::exists(directory_ + "/results.jsonl")) {
      throw LoadError(directory_ +
                      "/results.jsonl is there without its run.json, so it is not known "
                      "what made it; choose another --output");
    }
    replace_file(path, run.dump(2) + "\n");
    return;
  }
  std::ifstream file(path);
  const Json before = Json::parse(file, nullptr, false);
  if (!before.is_object()) {
    throw LoadError(path + " is damaged; choose another --output");
  }
  for (const auto& [key, value] : run.items()) {
    if (!before.contains(key) || before[key] != value) {
      throw LoadError(fmt::format(
          "{} holds results of another run: {} was {} and is now {}; go back to it, or choose "
          "another "
          "--output (or remove the directory to start anew)",
          directory_, key, before.contains(key) ? before[key].dump() : "absent", value.dump()));
    }
  }
}

bool ResultStore::is_done(int64_t index) const {
  return index >= 0 && static_cast<size_t>(index) < done_.size() &&
         done_[static_cast<size_t>(index)];
}

void ResultStore::mark_done(int64_t index) {
  const auto position = static_cast<size_t>(index);
  if (position >= done_.size()) {
    done_.resize(std::max(position + 1, done_.size() * 2));
  }
  done_[position] = true;
}

void ResultStore::append_result(const Json& row) {
  const auto index = row["index"].get<int64_t>();
  CHECK(!is_done(index), "row ", index, " twice");
  results_->append(row);
  mark_done(index);
}

void ResultStore::append_error(const Json& row) {
  const auto index = row["index"].get<int64_t>();
  CHECK(!is_done(index), "row ", index, " twice");
  errors_->append(row);
  mark_done(index);
}

void ResultStore::finish() {
  results_->sort();
  errors_->sort();
}

void ResultStore::write_file(const std::string& name, const Json& content) const {
  replace_file(directory_ + "/" + name, content.dump(2) + "\n");
}

}  // namespace quire
