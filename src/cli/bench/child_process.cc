#include "cli/bench/child_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

#include "base/error.h"

namespace quire {
namespace {

constexpr size_t kShownLogBytes = 2000;

std::string end_of(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  return text.size() > kShownLogBytes ? text.substr(text.size() - kShownLogBytes) : text;
}

}  // namespace

ChildProcess::ChildProcess(const ChildOptions& options) : log_path_(options.log_path) {
  std::vector<char*> argv;
  argv.reserve(options.words.size() + 1);
  for (const std::string& word : options.words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  std::array<int, 2> ends = {-1, -1};
  if (options.talks && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    throw LoadError(std::string("cannot make a socket: ") + std::strerror(errno));
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_path_.c_str(),
                                   O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (options.talks) posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, options.talks ? ends[1] : STDERR_FILENO,
                                   STDOUT_FILENO);
  const int status = posix_spawn(&pid_, "/proc/self/exe", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  talk_ = ends[0];
  if (ends[1] >= 0) close(ends[1]);
  if (status != 0) {
    if (talk_ >= 0) close(talk_);
    throw LoadError(std::string("cannot start a quire process: ") + std::strerror(status));
  }
}

ChildProcess::~ChildProcess() {
  if (talk_ >= 0) close(talk_);
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
}

bool ChildProcess::running() {
  if (pid_ > 0 && waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
  return pid_ > 0;
}

std::string ChildProcess::read_line() {
  size_t end = unread_.find('\n');
  while (end == std::string::npos) {
    std::array<char, 4096> piece;
    const ssize_t size = recv(talk_, piece.data(), piece.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) {
      throw LoadError("a quire process ended before it answered; it wrote:\n" + end_of(log_path_));
    }
    unread_.append(piece.data(), static_cast<size_t>(size));
    end = unread_.find('\n');
  }
  std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  return line;
}

void ChildProcess::write_line(const std::string& line) {
  const std::string text = line + "\n";
  // Short lines to a socket that is read: never a part.
  if (send(talk_, text.data(), text.size(), MSG_NOSIGNAL) != std::ssize(text)) {
    throw LoadError("a quire process ended; it wrote:\n" + end_of(log_path_));
  }
}

void ChildProcess::finish() {
  shutdown(talk_, SHUT_WR);
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

}  // namespace quire
