// CHECK: an invariant of our own code.  It prints the condition, the place and a message, then aborts.
// It is never reachable from user input; bad requests use RequestError, bad files LoadError (error.h).
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <string>

namespace quire {

[[noreturn]] inline void check_failed(const char* file, int line, const char* condition,
                                      const std::string& message) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed%s%s\n", file, line, condition,
               message.empty() ? "" : ": ", message.c_str());
  std::abort();
}

// Concatenates its arguments as an ostream would print them.
template <typename... Args>
std::string check_message(const Args&... args) {
  std::ostringstream out;
  (void)(out << ... << args);
  return out.str();
}

}  // namespace quire

// CHECK(condition, "text", value, ...): always on.
#define CHECK(condition, ...)                                                 \
  do {                                                                        \
    if (!(condition)) [[unlikely]] {                                          \
      ::quire::check_failed(__FILE__, __LINE__, #condition,                   \
                            ::quire::check_message(__VA_ARGS__));             \
    }                                                                         \
  } while (false)

// DCHECK: as CHECK, compiled out of release builds; for hot loops.
#ifdef NDEBUG
#define DCHECK(condition, ...) \
  do {                         \
    (void)sizeof(condition);   \
  } while (false)
#else
#define DCHECK(condition, ...) CHECK(condition, __VA_ARGS__)
#endif
