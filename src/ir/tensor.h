// Constant data: a typed, shaped, immutable block of bytes that may live in a mapped file.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/status.h"

namespace tenon::ir {

// Row-major, dense. Copies share the bytes. A Tensor without data (a parameter parsed from text) has a type only.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, std::vector<int64_t> shape) : dtype_(dtype), shape_(std::move(shape)) {}
  // `owner` keeps `data` alive. The byte count must be numel * dtype_size.
  Tensor(DType dtype, std::vector<int64_t> shape, std::shared_ptr<const void> owner, const std::byte* data)
      : dtype_(dtype), shape_(std::move(shape)), owner_(std::move(owner)), data_(data) {}

  // A tensor with its own zeroed memory, and a pointer to fill it through.
  static Result<Tensor> allocate(DType dtype, std::vector<int64_t> shape, std::byte** writable);
  template <class T>
  static Tensor from(DType dtype, std::vector<int64_t> shape, const std::vector<T>& values);
  static Tensor scalar(DType dtype, double value);
  static Tensor ints(const std::vector<int64_t>& values);  // i64 [n]

  DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t numel() const;
  size_t bytes() const { return static_cast<size_t>(numel()) * dtype_size(dtype_); }
  bool has_data() const { return data_ != nullptr || numel() == 0; }
  const std::byte* data() const { return data_; }
  template <class T>
  const T* as() const { return reinterpret_cast<const T*>(data_); }

  double at(int64_t i) const;     // element i in row-major order, as a double
  int64_t int_at(int64_t i) const;  // the same as an integer, exact for 64-bit types; the bits of a narrow float
  Tensor reshaped(std::vector<int64_t> shape) const { return {dtype_, std::move(shape), owner_, data_}; }
  // Nothing when elements differ or there are none.
  std::optional<double> uniform_value() const;
  bool same_bytes(const Tensor& o) const;

 private:
  DType dtype_ = DType::kF32;
  std::vector<int64_t> shape_{0};
  std::shared_ptr<const void> owner_;
  const std::byte* data_ = nullptr;
};

template <class T>
Tensor Tensor::from(DType dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  auto copy = std::make_shared<std::vector<T>>(values);
  const auto* data = reinterpret_cast<const std::byte*>(copy->data());
  return {dtype, std::move(shape), std::move(copy), data};
}

}  // namespace tenon::ir
