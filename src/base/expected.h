// Expected<T, E>: a value or an error, with the names of C++23's std::expected, of which it is to
// become an alias once every compiler in use has it.
#pragma once

#include <cstddef>
#include <optional>
#include <utility>
#include <variant>

#include "base/check.h"

namespace quire {

template <typename E>
struct Unexpected {
  E error;
};
template <typename E>
Unexpected(E) -> Unexpected<E>;

template <typename T, typename E>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT(google-explicit-constructor)
  template <typename G>
  Expected(Unexpected<G> failure)  // NOLINT(google-explicit-constructor)
      : state_(std::in_place_index<1>, std::move(failure.error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() & { return checked<0>(); }
  const T& value() const& { return const_cast<Expected*>(this)->checked<0>(); }
  T&& value() && { return std::move(checked<0>()); }
  T& operator*() & { return checked<0>(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(checked<0>()); }
  T* operator->() { return &checked<0>(); }
  const T* operator->() const { return &value(); }
  T value_or_void() && { return std::move(checked<0>()); }  // for QUIRE_TRY
  E& error() & { return checked<1>(); }
  const E& error() const& { return const_cast<Expected*>(this)->checked<1>(); }

 private:
  template <size_t I>
  auto& checked() {
    CHECK(state_.index() == I, "Expected holds the other alternative");
    return *std::get_if<I>(&state_);
  }
  std::variant<T, E> state_;
};

template <typename E>
class [[nodiscard]] Expected<void, E> {
 public:
  Expected() = default;
  template <typename G>
  Expected(Unexpected<G> failure) : error_(std::move(failure.error)) {}  // NOLINT(google-explicit-constructor)

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  void value_or_void() && { CHECK(has_value(), "Expected holds an error"); }  // for QUIRE_TRY
  E& error() {
    CHECK(error_.has_value(), "Expected holds a value");
    return *error_;
  }
  const E& error() const { return const_cast<Expected*>(this)->error(); }

 private:
  std::optional<E> error_;
};

}  // namespace quire

// QUIRE_TRY(expression): the value, or return the error to the caller.
#define QUIRE_TRY(expression)                                              \
  ({                                                                       \
    auto quire_try_result = (expression);                                  \
    if (!quire_try_result) [[unlikely]] {                                  \
      return ::quire::Unexpected{std::move(quire_try_result).error()};     \
    }                                                                      \
    std::move(quire_try_result).value_or_void();                           \
  })
