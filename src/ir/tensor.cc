#include "ir/tensor.h"

#include <cstdlib>

#include "base/checked.h"

namespace tenon::ir {

int64_t Tensor::numel() const { return checked_numel(shape_).value_or(0); }

Result<Tensor> Tensor::allocate(DType dtype, std::vector<int64_t> shape, std::byte** writable) {
  const auto n = checked_numel(shape);
  const auto bytes = n ? checked_mul(*n, static_cast<int64_t>(dtype_size(dtype))) : std::nullopt;
  if (!bytes) return error(ErrorCode::kOutOfMemory, "a tensor of this shape is too large");
  // calloc: large blocks come as untouched zero pages, so a tensor costs memory only where it is written.
  auto* memory = static_cast<std::byte*>(std::calloc(static_cast<size_t>(*bytes) + 64, 1));
  if (memory == nullptr) return error(ErrorCode::kOutOfMemory, "cannot allocate {} bytes", *bytes);
  *writable = memory;
  return Tensor(dtype, std::move(shape), std::shared_ptr<const void>(memory, [](const void* p) { std::free(const_cast<void*>(p)); }),
                memory);
}

Tensor Tensor::scalar(DType dtype, double value) {
  if (is_narrow_float(dtype)) return from(dtype, {}, std::vector<uint8_t>{encode_narrow(dtype, value)});
  return visit_dtype(dtype, [&]<class T>() {
    auto box = std::make_shared<T>(convert<T>(value));
    const auto* data = reinterpret_cast<const std::byte*>(box.get());
    return Tensor(dtype, {}, std::move(box), data);
  });
}

Tensor Tensor::ints(const std::vector<int64_t>& values) {
  return from(DType::kI64, {static_cast<int64_t>(values.size())}, values);
}

// A bool in memory may be any nonzero byte.
double Tensor::at(int64_t i) const {
  if (dtype_ == DType::kBool) return data_[i] != std::byte{0} ? 1.0 : 0.0;
  if (is_narrow_float(dtype_)) return decode_narrow(dtype_, static_cast<uint8_t>(data_[i]));
  return visit_dtype(dtype_, [&]<class T>() {
    T v;
    std::memcpy(&v, data_ + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    return convert<double>(v);
  });
}

int64_t Tensor::int_at(int64_t i) const {
  if (dtype_ == DType::kBool) return data_[i] != std::byte{0} ? 1 : 0;
  return visit_dtype(dtype_, [&]<class T>() {
    T v;
    std::memcpy(&v, data_ + static_cast<size_t>(i) * sizeof(T), sizeof(T));
    return convert<int64_t>(v);
  });
}

std::optional<double> Tensor::uniform_value() const {
  const int64_t n = numel();
  if (n == 0 || !has_data()) return std::nullopt;
  const size_t size = dtype_size(dtype_);
  for (int64_t i = 1; i < n; ++i)
    if (std::memcmp(data_, data_ + static_cast<size_t>(i) * size, size) != 0) return std::nullopt;
  return at(0);
}

bool Tensor::same_bytes(const Tensor& o) const {
  if (dtype_ != o.dtype_ || shape_ != o.shape_) return false;
  if (data_ == o.data_ || bytes() == 0) return true;
  return has_data() && o.has_data() && std::memcmp(data_, o.data_, bytes()) == 0;
}

}  // namespace tenon::ir
