// Rows of a matrix: 16-byte vectors of f16, bf16 or f32, and groups of lanes that share a row.
#pragma once

#include "half.cuh"

using f32 = float;

TENON_DEVICE float infinity() { return __int_as_float(0x7f800000); }

TENON_DEVICE float to_float(f32 x) { return x; }
template <>
TENON_DEVICE f32 from_float<f32>(float x) {
  return x;
}

// The greater of two, where U has 16 bits in each half of a register; a NaN stays.
template <class U>
TENON_DEVICE uint32_t greater(uint32_t a, uint32_t b);
#define TENON_GREATER(U, type)                                       \
  template <>                                                        \
  TENON_DEVICE uint32_t greater<U>(uint32_t a, uint32_t b) {         \
    uint32_t r;                                                      \
    asm("max.NaN." #type " %0, %1, %2;" : "=r"(r) : "r"(a), "r"(b)); \
    return r;                                                        \
  }
TENON_GREATER(f16, f16x2)
TENON_GREATER(bf16, bf16x2)
template <>
TENON_DEVICE uint32_t greater<f32>(uint32_t a, uint32_t b) {
  float r;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(r) : "f"(__uint_as_float(a)), "f"(__uint_as_float(b)));
  return __float_as_uint(r);
}

// kN neighbours as they lie in memory: 16 bytes, or one element where rows are not aligned to that.
template <class T, int kN>
struct Vector {
  static_assert(sizeof(T) == 2 && kN == 8, "16 bytes or one element");
  uint4 bits;
  TENON_DEVICE void unpack(float (&out)[8]) const { unpack8<T>(bits, out); }
  TENON_DEVICE static Vector pack(const float (&v)[8]) { return {pack8<T>(v)}; }
};
template <>
struct Vector<f32, 4> {
  float4 bits;
  TENON_DEVICE void unpack(float (&out)[4]) const {
    out[0] = bits.x, out[1] = bits.y, out[2] = bits.z, out[3] = bits.w;
  }
  TENON_DEVICE static Vector pack(const float (&v)[4]) { return {{v[0], v[1], v[2], v[3]}}; }
};
template <class T>
struct Vector<T, 1> {
  T bits;
  TENON_DEVICE void unpack(float (&out)[1]) const { out[0] = to_float(bits); }
  TENON_DEVICE static Vector pack(const float (&v)[1]) { return {from_float<T>(v[0])}; }
};

// ---- Reductions over a group of lanes: a power of two, neighbours in a block of (lanes, groups) threads -------------

struct Sum {
  TENON_DEVICE static float start() { return 0.f; }
  TENON_DEVICE static float join(float a, float b) { return a + b; }
};
struct Greatest {  // a NaN is passed over
  TENON_DEVICE static float start() { return -infinity(); }
  TENON_DEVICE static float join(float a, float b) { return fmaxf(a, b); }
};

// Every lane gets the result. All threads of a warp take part, and all of the block where a group is wider than a warp:
// then it is the block.
template <int kLanes, class Op>
TENON_DEVICE float reduce_group(float x) {
#pragma unroll
  for (int step = (kLanes < 32 ? kLanes : 32) / 2; step > 0; step /= 2)
    x = Op::join(x, __shfl_xor_sync(0xffffffffu, x, step));
  if constexpr (kLanes > 32) {
    __shared__ float partial[kLanes / 32];
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = x;
    __syncthreads();
    x = partial[0];
#pragma unroll
    for (int i = 1; i < kLanes / 32; ++i) x = Op::join(x, partial[i]);
    __syncthreads();  // before the next reduction writes there
  }
  return x;
}

// ---- A row of known width in the registers of its lanes -------------------------------------------------------------

// Lane l holds vectors l, l + kLanes, …
template <class T, int kWidth, int kVector, int kLanes>
struct Row {
  using V = Vector<T, kVector>;
  static constexpr int kVectors = kWidth / kVector, kHeld = (kVectors + kLanes - 1) / kLanes;
  static_assert(kWidth % kVector == 0, "whole vectors only");

  float v[kHeld][kVector];  // 0 behind the end

  // Known when compiling for all but a row's last vectors.
  TENON_DEVICE static bool holds(int i) {
    return (i + 1) * kLanes <= kVectors || i * kLanes + static_cast<int>(threadIdx.x) < kVectors;
  }
  TENON_DEVICE static int index(int i) { return i * kLanes + static_cast<int>(threadIdx.x); }

  TENON_DEVICE void clear() {
#pragma unroll
    for (int i = 0; i < kHeld; ++i)
#pragma unroll
      for (int j = 0; j < kVector; ++j) v[i][j] = 0.f;
  }
};

// The part of a row that a lane holds, packed: a weight, or an input on its way.
template <class R>
struct PackedRow {
  typename R::V v[R::kHeld];

  template <class T>
  TENON_DEVICE void load(const T* row) {
#pragma unroll
    for (int i = 0; i < R::kHeld; ++i)
      if (R::holds(i)) v[i] = reinterpret_cast<const typename R::V*>(row)[R::index(i)];
  }
  TENON_DEVICE void add_to(R& row) const {
    apply(row, [](float& to, float x) { to += x; });
  }
  TENON_DEVICE void scale(R& row) const {
    apply(row, [](float& to, float x) { to *= x; });
  }

 private:
  template <class F>
  TENON_DEVICE void apply(R& row, F f) const {
#pragma unroll
    for (int i = 0; i < R::kHeld; ++i) {
      if (!R::holds(i)) continue;
      float x[sizeof(row.v[0]) / sizeof(float)];
      v[i].unpack(x);
#pragma unroll
      for (unsigned j = 0; j < sizeof(row.v[0]) / sizeof(float); ++j) f(row.v[i][j], x[j]);
    }
  }
};

template <class T, int kWidth, int kVector, int kLanes>
TENON_DEVICE void store_row(T* to, const Row<T, kWidth, kVector, kLanes>& row) {
  using R = Row<T, kWidth, kVector, kLanes>;
#pragma unroll
  for (int i = 0; i < R::kHeld; ++i)
    if (R::holds(i)) reinterpret_cast<typename R::V*>(to)[R::index(i)] = R::V::pack(row.v[i]);
}

// (s - mean) / sqrt(variance + epsilon), the variance from differences to the mean; kRms leaves the mean out of both.
template <bool kRms, class T, int kWidth, int kVector, int kLanes>
TENON_DEVICE void normalize(Row<T, kWidth, kVector, kLanes>& row, float epsilon) {
  using R = Row<T, kWidth, kVector, kLanes>;
  float mean = 0.f;
  if constexpr (!kRms) {
#pragma unroll
    for (int i = 0; i < R::kHeld; ++i)
#pragma unroll
      for (int j = 0; j < kVector; ++j) mean += row.v[i][j];
    mean = reduce_group<kLanes, Sum>(mean) * (1.f / kWidth);
  }
  float squares = 0.f;
#pragma unroll
  for (int i = 0; i < R::kHeld; ++i) {
    if (!R::holds(i)) continue;
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      row.v[i][j] -= mean;
      squares += row.v[i][j] * row.v[i][j];
    }
  }
  const float scale = rsqrtf(reduce_group<kLanes, Sum>(squares) * (1.f / kWidth) + epsilon);
#pragma unroll
  for (int i = 0; i < R::kHeld; ++i)
#pragma unroll
    for (int j = 0; j < kVector; ++j) row.v[i][j] *= scale;
}
