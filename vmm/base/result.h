// Result<T>: a value or an Error, shaped like std::expected (which gcc 12 does not have).
//
// Every fallible function returns one; each caller that passes an Error up adds what it was doing
// (`annotate`), and it is logged once, where it stops. Exceptions appear only where a library
// throws, and are caught at that border.
#pragma once

#include <cerrno>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace base {

/// What kind of failure this is. api/http/status.cc alone maps it to an HTTP status.
enum class Code {
  kInvalidArgument,    // the caller's input is wrong
  kNotFound,           // the named object does not exist
  kAlreadyExists,      // a name or object is taken
  kConflict,           // the object's state does not allow it
  kPermissionDenied,   // refused by policy or the kernel
  kResourceExhausted,  // a limit was reached: memory, disk, counts
  kNotSupported,       // correct, but this host cannot or will not do it
  kUnavailable,        // a peer is gone or not ready; trying again may help
  kDeadlineExceeded,   // took too long
  kDataLoss,           // stored or received bytes are corrupt
  kInternal,           // a bug or an unexpected system error
};

std::string_view to_string(Code code);

struct [[nodiscard]] Error {
  Code code = Code::kInternal;
  std::string message;
};

/// Error for a failed system call: "<what>: <strerror>", Code chosen from errno.
Error errno_error(std::string_view what, int error_number = errno);

/// "<what>: <message>", same code.
Error annotate(Error error, std::string_view what);

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;

  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  T& value() & { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }

  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;

  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  const Error& error() const& { return *error_; }
  Error&& error() && { return *std::move(error_); }

 private:
  std::optional<Error> error_;
};

/// The error of `result`, with what the caller was doing put in front of it.
template <typename T>
Error annotate(Result<T>&& result, std::string_view what) {
  return annotate(std::move(result).error(), what);
}

}  // namespace base

/// RETURN_IF_ERROR(expr): passes the Error of a Result up unchanged.
#define RETURN_IF_ERROR(expression)                                      \
  do {                                                                   \
    if (auto result_of_expression = (expression); !result_of_expression) \
      return std::move(result_of_expression).error();                    \
  } while (false)
