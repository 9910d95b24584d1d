#include "cli/human_number.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>

namespace quire {
namespace {

// The factor of a suffix, or 0.
double suffix_factor(std::string_view suffix) {
  constexpr std::string_view kLetters = "kmgt";
  if (suffix.empty()) {
    return 1;
  }
  const char letter = suffix[0];
  const bool upper = letter >= 'A' && letter <= 'Z';
  const size_t power = kLetters.find(upper ? static_cast<char>(letter - 'A' + 'a') : letter);
  if (power == std::string_view::npos) {
    return 0;
  }
  const std::string_view unit = suffix.substr(1);
  double base = upper ? 1024 : 1000;
  if (unit == "iB") {
    base = 1024;
  } else if (unit == "B") {
    base = 1000;
  } else if (!unit.empty()) {
    return 0;
  }
  return std::pow(base, static_cast<double>(power) + 1);
}

}  // namespace

Expected<int64_t, std::string> parse_human_int(std::string_view text) {
  const auto failure = [&](const char* reason) {
    return Unexpected{fmt::format("'{}' {}", text, reason)};
  };
  const size_t num_digits = text.find_first_not_of("0123456789.-");
  const std::string_view digits = text.substr(0, num_digits);
  const std::string_view suffix =
      num_digits == std::string_view::npos ? std::string_view() : text.substr(num_digits);
  double number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number,
                                            std::chars_format::fixed);
  const double factor = suffix_factor(suffix);
  if (error != std::errc() || end != digits.data() + digits.size() || factor == 0) {
    return failure("is not a number; write it like 4096, 4k (4000), 4K (4096) or 2G");
  }
  const double product = std::round(number * factor * 1e6) / 1e6;
  if (product != std::floor(product)) {
    return failure("is not a whole number");
  }
  if (std::abs(product) > static_cast<double>(int64_t{1} << 62)) {
    return failure("is too large");
  }
  return static_cast<int64_t>(product);
}

std::string format_bytes(int64_t num_bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(num_bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", num_bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string format_count(int64_t count) {
  std::string digits = std::to_string(count < 0 ? -count : count);
  for (size_t position = digits.size(); position > 3;) {
    position -= 3;
    digits.insert(position, ",");
  }
  return count < 0 ? "-" + digits : digits;
}

std::string format_duration(double seconds) {
  if (seconds < 60) {
    return fmt::format("{:.1f}s", seconds);
  }
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 3600) {
    return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  }
  return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
}

}  // namespace quire
