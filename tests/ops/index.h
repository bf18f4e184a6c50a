// Building what an op should give, index by index.
#pragma once

#include <cstring>
#include <vector>

#include "ir/tensor.h"

namespace tenon::test {

using Index = std::vector<int64_t>;

// The place of `index` in a row-major tensor of `shape`.
inline int64_t flat(const Index& index, const std::vector<int64_t>& shape) {
  int64_t at = 0;
  for (size_t i = 0; i < shape.size(); ++i) at = at * shape[i] + index[i];
  return at;
}

// A tensor whose element at each index is element(index), as a double.
template <class F>
ir::Tensor tensor_of(DType dtype, const std::vector<int64_t>& shape, F&& element) {
  std::byte* data = nullptr;
  ir::Tensor t = *ir::Tensor::allocate(dtype, shape, &data);
  const int64_t n = t.numel();
  Index index(shape.size(), 0);
  for (int64_t i = 0; i < n; ++i) {
    int64_t rest = i;
    for (size_t axis = shape.size(); axis-- > 0; rest /= shape[axis]) index[axis] = rest % shape[axis];
    const ir::Tensor one = ir::Tensor::scalar(dtype, static_cast<double>(element(index)));
    std::memcpy(data + static_cast<size_t>(i) * dtype_size(dtype), one.data(), dtype_size(dtype));
  }
  return t;
}

// The element that a tensor broadcast to more or larger axes has at `index`.
inline double broadcast_at(const ir::Tensor& t, const Index& index) {
  const std::vector<int64_t>& shape = t.shape();
  Index own(index.end() - static_cast<std::ptrdiff_t>(shape.size()), index.end());
  for (size_t i = 0; i < shape.size(); ++i) own[i] = shape[i] == 1 ? 0 : own[i];
  return t.at(flat(own, shape));
}

inline ir::Tensor values(DType dtype, std::vector<int64_t> shape, const std::vector<double>& list) {
  return tensor_of(dtype, shape, [&](const Index& at) { return list[static_cast<size_t>(flat(at, shape))]; });
}
inline ir::Tensor f32(std::vector<int64_t> shape, const std::vector<double>& list) { return values(DType::kF32, std::move(shape), list); }
inline ir::Tensor i64(std::vector<int64_t> shape, const std::vector<int64_t>& list) { return ir::Tensor::from(DType::kI64, std::move(shape), list); }
inline ir::Tensor bools(std::vector<int64_t> shape, const std::vector<uint8_t>& list) { return ir::Tensor::from(DType::kBool, std::move(shape), list); }

}  // namespace tenon::test
