// Answer<T>: a value, or the errno that a guest's system call fails with.
//
// base::Result's errors are sentences for people; a guest gets numbers.
#pragma once

#include <cerrno>
#include <utility>
#include <variant>

namespace fileserver {

struct Errno {
  int value = 0;
};

/// What the last system call of this thread failed with.
inline Errno last_errno() { return Errno{errno}; }

template <typename T>
class [[nodiscard]] Answer {
 public:
  Answer(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: on purpose
  Answer(Errno error) : state_(std::in_place_index<1>, error) {}         // NOLINT: on purpose

  explicit operator bool() const { return state_.index() == 0; }
  T& operator*() & { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  Errno error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Errno> state_;
};

template <>
class [[nodiscard]] Answer<void> {
 public:
  Answer() = default;
  Answer(Errno error) : error_(error) {}  // NOLINT: on purpose

  explicit operator bool() const { return error_.value == 0; }
  Errno error() const { return error_; }

 private:
  Errno error_;
};

/// The answer to a system call that returns 0, or -1 and an errno.
inline Answer<void> outcome(int returned) {
  if (returned != 0) return last_errno();
  return {};
}

}  // namespace fileserver
