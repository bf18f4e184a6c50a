// Status and Result<T>: how errors travel inside the library. Exceptions appear only at the public API's edge.
//
// A user's fault names the file, the node and the cause; a fault of ours is kInternal and says so.
#pragma once

#include <fmt/core.h>

#include <optional>
#include <string>
#include <utility>

#include "tenon/error.h"

namespace tenon {

class [[nodiscard]] Status {
 public:
  Status() = default;  // ok
  Status(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == ErrorCode::kOk; }
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  // The same error, told from one level further out: "model.onnx: node Add_3: <message>".
  Status with_context(const std::string& where) const { return ok() ? *this : Status(code_, where + ": " + message_); }

 private:
  ErrorCode code_ = ErrorCode::kOk;
  std::string message_;
};

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                // NOLINT: implicit on purpose
  Result(Status status) : status_(std::move(status)) {}        // NOLINT: implicit on purpose
  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return *std::move(value_); }
  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

template <class... Args>
Status error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Status(code, fmt::format(format, std::forward<Args>(args)...));
}

// For the public API's edge: throws tenon::Error when `status` is not ok.
void throw_if_error(const Status& status);
template <class T>
T value_or_throw(Result<T> result) {
  throw_if_error(result.status());
  return std::move(result).value();
}

}  // namespace tenon

// Returns the error of a Status expression to the caller.
#define TENON_TRY(expr)                                  \
  do {                                                   \
    if (::tenon::Status status_ = (expr); !status_.ok()) \
      return status_;                                    \
  } while (0)

// TENON_ASSIGN(auto x, f()): x is f's value, or f's error is returned to the caller.
#define TENON_ASSIGN(lhs, expr) TENON_ASSIGN_IMPL(TENON_CONCAT(result_, __COUNTER__), lhs, expr)
#define TENON_ASSIGN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                      \
  if (!tmp.ok()) return tmp.status();     \
  lhs = std::move(tmp).value()
#define TENON_CONCAT(a, b) TENON_CONCAT_IMPL(a, b)
#define TENON_CONCAT_IMPL(a, b) a##b
