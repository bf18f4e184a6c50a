// The functions of elementwise programs (ops/scalar_functions.h) on values as kernels hold them: floats of any width as
// float, integers as they are, bool as bool.
#pragma once

#include "row.cuh"

using i32 = int32_t;
using i64 = int64_t;

template <class T>
struct HeldAs {
  using type = T;
};
template <>
struct HeldAs<f16> {
  using type = float;
};
template <>
struct HeldAs<bf16> {
  using type = float;
};
template <class T>
using Held = typename HeldAs<T>::type;

// From memory, where a bool is any nonzero byte, and back.
template <class T>
struct Stored {
  T bits;
  TENON_DEVICE Held<T> held() const { return bits; }
  TENON_DEVICE static Stored of(Held<T> x) { return {x}; }
};
template <>
struct Stored<f16> {
  f16 bits;
  TENON_DEVICE float held() const { return to_float(bits); }
  TENON_DEVICE static Stored of(float x) { return {from_float<f16>(x)}; }
};
template <>
struct Stored<bf16> {
  bf16 bits;
  TENON_DEVICE float held() const { return to_float(bits); }
  TENON_DEVICE static Stored of(float x) { return {from_float<bf16>(x)}; }
};
template <>
struct Stored<bool> {
  uint8_t bits;
  TENON_DEVICE bool held() const { return bits != 0; }
  TENON_DEVICE static Stored of(bool x) { return {x}; }
};

namespace fn {

TENON_DEVICE float exp(float x) { return ::expf(x); }
TENON_DEVICE float log(float x) { return ::logf(x); }
TENON_DEVICE float sqrt(float x) { return ::sqrtf(x); }
TENON_DEVICE float rsqrt(float x) { return 1.f / ::sqrtf(x); }
TENON_DEVICE float reciprocal(float x) { return 1.f / x; }
TENON_DEVICE float erf(float x) { return ::erff(x); }
TENON_DEVICE float sin(float x) { return ::sinf(x); }
TENON_DEVICE float cos(float x) { return ::cosf(x); }
TENON_DEVICE float tanh(float x) { return ::tanhf(x); }
TENON_DEVICE float sigmoid(float x) { return 1.f / (1.f + ::expf(-x)); }
TENON_DEVICE float softplus(float x) { return (x > 0.f ? x : 0.f) + ::log1pf(::expf(-::fabsf(x))); }
TENON_DEVICE float silu(float x) { return x * sigmoid(x); }
TENON_DEVICE float floor(float x) { return ::floorf(x); }
TENON_DEVICE float ceil(float x) { return ::ceilf(x); }
TENON_DEVICE float round(float x) { return ::rintf(x); }
TENON_DEVICE float gelu(float x) { return 0.5f * x * ::erfcf(-0.70710678118654752f * x); }
TENON_DEVICE float gelu_tanh(float x) {
  return 0.5f * x * (1.f + ::tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}
TENON_DEVICE float gelu_sigmoid(float x) { return x * sigmoid(1.702f * x); }
TENON_DEVICE float leaky_relu(float x, float alpha) { return x < 0.f ? alpha * x : x; }
TENON_DEVICE bool is_nan(float x) { return x != x; }
TENON_DEVICE float pow(float a, float b) { return ::powf(a, b); }
TENON_DEVICE float mod(float a, float b) { return ::fmodf(a, b); }

// Integers wrap.
TENON_DEVICE float add(float a, float b) { return a + b; }
TENON_DEVICE float sub(float a, float b) { return a - b; }
TENON_DEVICE float mul(float a, float b) { return a * b; }
TENON_DEVICE float div(float a, float b) { return a / b; }
TENON_DEVICE i32 add(i32 a, i32 b) { return static_cast<i32>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b)); }
TENON_DEVICE i32 sub(i32 a, i32 b) { return static_cast<i32>(static_cast<uint32_t>(a) - static_cast<uint32_t>(b)); }
TENON_DEVICE i32 mul(i32 a, i32 b) { return static_cast<i32>(static_cast<uint32_t>(a) * static_cast<uint32_t>(b)); }
TENON_DEVICE i64 add(i64 a, i64 b) { return static_cast<i64>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b)); }
TENON_DEVICE i64 sub(i64 a, i64 b) { return static_cast<i64>(static_cast<uint64_t>(a) - static_cast<uint64_t>(b)); }
TENON_DEVICE i64 mul(i64 a, i64 b) { return static_cast<i64>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b)); }

TENON_DEVICE float neg(float x) { return -x; }
TENON_DEVICE float abs(float x) { return ::fabsf(x); }
template <class T>
TENON_DEVICE T neg(T x) {
  return sub(T{0}, x);
}
template <class T>
TENON_DEVICE T abs(T x) {
  return x < T{0} ? neg(x) : x;
}
template <class T>
TENON_DEVICE T sign(T x) {
  return static_cast<T>((x > T{0}) - (x < T{0}));
}
template <class T>
TENON_DEVICE T relu(T x) {
  return x < T{0} ? T{0} : x;  // a NaN stays
}
template <class T>
TENON_DEVICE T min(T a, T b) {
  return a != a || a < b ? a : b;  // a NaN in either stays
}
template <class T>
TENON_DEVICE T max(T a, T b) {
  return a != a || a > b ? a : b;
}

template <class T>
TENON_DEVICE bool equal(T a, T b) {
  return a == b;
}
template <class T>
TENON_DEVICE bool less(T a, T b) {
  return a < b;
}
template <class T>
TENON_DEVICE bool less_equal(T a, T b) {
  return a <= b;
}
template <class T>
TENON_DEVICE bool greater(T a, T b) {
  return a > b;
}
template <class T>
TENON_DEVICE bool greater_equal(T a, T b) {
  return a >= b;
}
TENON_DEVICE bool logical_not(bool a) { return !a; }
TENON_DEVICE bool logical_and(bool a, bool b) { return a && b; }
TENON_DEVICE bool logical_or(bool a, bool b) { return a || b; }
TENON_DEVICE bool logical_xor(bool a, bool b) { return a != b; }
template <class T>
TENON_DEVICE T where(bool c, T a, T b) {
  return c ? a : b;
}

// Floats truncate towards zero and clamp, NaN gives 0; to bool it is x != 0.
template <class To>
struct Cast {
  template <class From>
  TENON_DEVICE static Held<To> of(From x) {
    return Stored<To>::of(static_cast<float>(x)).held();  // a float is rounded to its width
  }
};
template <>
struct Cast<bool> {
  template <class From>
  TENON_DEVICE static bool of(From x) {
    return x != From{};
  }
};
template <>
struct Cast<i32> {
  template <class From>
  TENON_DEVICE static i32 of(From x) {
    return static_cast<i32>(x);
  }
  TENON_DEVICE static i32 of(float x) { return is_nan(x) ? 0 : __float2int_rz(x); }
};
template <>
struct Cast<i64> {
  template <class From>
  TENON_DEVICE static i64 of(From x) {
    return static_cast<i64>(x);
  }
  TENON_DEVICE static i64 of(float x) { return is_nan(x) ? 0 : __float2ll_rz(x); }
};
template <class To, class From>
TENON_DEVICE Held<To> cast(From x) {
  return Cast<To>::of(x);
}

}  // namespace fn
