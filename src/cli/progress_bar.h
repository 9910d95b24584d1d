// One line on a terminal's stderr that says how far a long job is.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace quire {

// Silent when stderr is not a terminal.  Redraws a few times a second at most.
class ProgressBar {
 public:
  // `num_done` of `num_total` are there already and do not count for the rate.
  ProgressBar(int64_t num_total, int64_t num_done);
  ~ProgressBar();  // clears the line
  void update(int64_t num_done, int64_t num_generated_tokens);

 private:
  const int64_t num_total_;
  const int64_t num_done_before_;
  const bool visible_;
  const std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_draw_;
};

struct Progress {
  int64_t num_total = 0;
  int64_t num_done = 0;
  int64_t num_done_before = 0;  // by earlier runs
  int64_t num_generated_tokens = 0;
  double elapsed_s = 0;
};

// " 42% |#####      | 420/1000  12.3/s  810 tokens/s  ETA 47.0s"
std::string progress_line(const Progress& progress);

}  // namespace quire
