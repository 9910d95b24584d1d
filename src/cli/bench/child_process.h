// A process that runs this binary: what benchmarks of whole processes start.
#pragma once

#include <sys/types.h>

#include <string>

#include "cli/command.h"

namespace quire {

struct ChildOptions {
  CommandArgs words;     // with the program's name
  std::string log_path;  // takes what the child writes, or with talks only its errors
  bool talks = false;    // its input and output are lines from and to this process
};

// Killed when this object ends.  Thread: one owner.
class ChildProcess {
 public:
  // Throws LoadError if it cannot be started.
  explicit ChildProcess(const ChildOptions& options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  bool running();
  pid_t pid() const { return pid_; }

  // Of a child that talks.
  // Its next line; waits for it.  Throws LoadError, with the child's last errors, if it ends first.
  std::string read_line();
  void write_line(const std::string& line);
  // Ends its input and waits until it has ended.
  void finish();

 private:
  pid_t pid_ = -1;
  int talk_ = -1;
  std::string log_path_;
  std::string unread_;
};

}  // namespace quire
