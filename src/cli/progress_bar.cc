#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "cli/human_number.h"

namespace quire {
namespace {

constexpr int64_t kBarWidth = 30;
constexpr std::chrono::milliseconds kRedrawInterval(200);

}  // namespace

std::string progress_line(const Progress& progress) {
  const int64_t total = std::max<int64_t>(progress.num_total, 1);
  const int64_t filled = std::min(kBarWidth, kBarWidth * progress.num_done / total);
  const double elapsed_s = std::max(progress.elapsed_s, 1e-9);
  const double rate = static_cast<double>(progress.num_done - progress.num_done_before) / elapsed_s;
  const std::string eta =
      rate > 0 ? format_duration(static_cast<double>(progress.num_total - progress.num_done) / rate)
               : "?";
  return fmt::format("{:3}% |{:<{}}| {}/{}  {:.1f}/s  {:.0f} tokens/s  ETA {}",
                     100 * progress.num_done / total, std::string(static_cast<size_t>(filled), '#'),
                     kBarWidth, progress.num_done, progress.num_total, rate,
                     static_cast<double>(progress.num_generated_tokens) / elapsed_s, eta);
}

ProgressBar::ProgressBar(int64_t num_total, int64_t num_done)
    : num_total_(num_total),
      num_done_before_(num_done),
      visible_(isatty(STDERR_FILENO) == 1),
      start_(std::chrono::steady_clock::now()) {}

ProgressBar::~ProgressBar() {
  if (visible_) {
    std::fputs("\r\033[K", stderr);
  }
}

void ProgressBar::update(int64_t num_done, int64_t num_generated_tokens) {
  const auto now = std::chrono::steady_clock::now();
  if (!visible_ || now - last_draw_ < kRedrawInterval) {
    return;
  }
  last_draw_ = now;
  const std::string line =
      progress_line({.num_total = num_total_,
                     .num_done = num_done,
                     .num_done_before = num_done_before_,
                     .num_generated_tokens = num_generated_tokens,
                     .elapsed_s = std::chrono::duration<double>(now - start_).count()});
  fmt::print(stderr, "\r{}\033[K", line);
  std::fflush(stderr);
}

}  // namespace quire
