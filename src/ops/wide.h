// What the reference loops of floating-point ops share: f16, bf16 and f32 are computed in float (Compute<T>), f64 in double.
#pragma once

#include "ops/support.h"

namespace tenon::ops {

template <class A>
inline constexpr DType kWideDType = std::is_same_v<A, double> ? DType::kF64 : DType::kF32;

// The elements of a tensor as A (float or double). Shares x's memory where that is its dtype already: the result must not
// outlive x. Errors: out-of-memory.
template <class A>
Result<Tensor> widen(const TensorArg& x) {
  std::vector<int64_t> shape(x.shape.begin(), x.shape.end());
  if (x.dtype == kWideDType<A>) return Tensor(kWideDType<A>, std::move(shape), nullptr, x.as<const std::byte>());
  std::byte* memory = nullptr;
  TENON_ASSIGN(Tensor wide, Tensor::allocate(kWideDType<A>, std::move(shape), &memory));
  A* out = reinterpret_cast<A*>(memory);
  const int64_t count = x.numel();
  visit_dtype(x.dtype, [&]<class T>() {
    const T* in = x.as<const T>();
    for (int64_t i = 0; i < count; ++i) out[i] = convert<A>(in[i]);
  });
  return wide;
}

// Where the elements of y are computed in A before they are rounded to its dtype: y's own memory where that is its dtype
// already, else `memory`'s. Errors: out-of-memory.
template <class A>
Result<A*> wide_output(const TensorArg& y, Tensor& memory) {
  auto* bytes = y.as<std::byte>();
  if (y.dtype != kWideDType<A>) {
    TENON_ASSIGN(memory, Tensor::allocate(kWideDType<A>, {y.numel()}, &bytes));
  }
  return reinterpret_cast<A*>(bytes);
}

// Calls body(begin, end) over a partition of [0, count), on the pool where there is one.
template <class Body>
void for_chunks(ThreadPool* pool, int64_t count, Body&& body) {
  if (pool == nullptr) {
    if (count > 0) body(int64_t{0}, count);
  } else {
    pool->parallel_for(count, [&](int64_t begin, int64_t end, int) { body(begin, end); });
  }
}

}  // namespace tenon::ops
