// The output directory of quire generate: results that survive kill -9 at any byte.
//   results.jsonl  one row per finished prompt, appended as they finish, sorted by index at the end
//   errors.jsonl   one row per prompt that was skipped
//   run.json       what was run (input fingerprint, model, parameters); a different run is refused
// A row is keyed by "index", the line of the input; it is done once its line end is on disk.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace quire {

// Owns an open file.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  ~FileDescriptor();
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Appends rows to one file and knows which are there.
class RowFile {
 public:
  struct Row {
    int64_t index = 0;
    int64_t offset = 0;
  };

  // Reads what exists, cutting a torn last row.  Throws LoadError.
  explicit RowFile(std::string path);

  // Throws LoadError if the row cannot be written; the file is then continued by the next run.
  void append(const nlohmann::ordered_json& row);
  // Puts the rows in the order of their index, atomically, and makes them durable.
  void sort();
  const std::vector<Row>& rows() const { return rows_; }
  int64_t num_prompt_tokens() const { return num_prompt_tokens_; }
  int64_t num_generated_tokens() const { return num_generated_tokens_; }

 private:
  void read_rows();
  void add_row(const nlohmann::ordered_json& row, int64_t offset);

  std::string path_;
  FileDescriptor fd_;
  int64_t num_bytes_ = 0;
  std::vector<Row> rows_;
  int64_t num_prompt_tokens_ = 0;
  int64_t num_generated_tokens_ = 0;
};

class ResultStore {
 public:
  // Creates `directory`, or goes on with what is there.  `run` identifies the run.
  // Throws LoadError: another run's directory, a directory in use, not writable, damaged in the
  // middle.
  ResultStore(const std::string& directory, const nlohmann::ordered_json& run);

  bool is_done(int64_t index) const;
  // Row must have "index", not done yet.
  void append_result(const nlohmann::ordered_json& row);
  void append_error(const nlohmann::ordered_json& row);
  // Sorts both files.
  void finish();
  // Replaces `name` in the directory.
  void write_file(const std::string& name, const nlohmann::ordered_json& content) const;

  // Over all runs; tokens are the sums of the rows' num_prompt_tokens and num_generated_tokens.
  int64_t num_results() const { return static_cast<int64_t>(results_->rows().size()); }
  int64_t num_errors() const { return static_cast<int64_t>(errors_->rows().size()); }
  int64_t num_prompt_tokens() const { return results_->num_prompt_tokens(); }
  int64_t num_generated_tokens() const { return results_->num_generated_tokens(); }

 private:
  void take_lock_and_check(const nlohmann::ordered_json& run);
  void mark_done(int64_t index);

  std::string directory_;
  FileDescriptor lock_;
  std::unique_ptr<RowFile> results_;
  std::unique_ptr<RowFile> errors_;
  std::vector<bool> done_;
};

}  // namespace quire
