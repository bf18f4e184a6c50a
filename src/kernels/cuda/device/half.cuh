// The two 16-bit element types: packing, conversion, 16-byte vectors. Arithmetic is done in float.
//
// A kernel is compiled for one of them: -DELEMENT=f16 or -DELEMENT=bf16, then `using T = ELEMENT;`.
#pragma once

#include "base.cuh"

struct f16 {
  uint16_t bits;
};
struct bf16 {
  uint16_t bits;
};

// Two neighbours in one register, `low` at the lower address; rounded to nearest even.
template <class T>
TENON_DEVICE uint32_t pack(float low, float high);
template <>
TENON_DEVICE uint32_t pack<f16>(float low, float high) {
  uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %2, %1;" : "=r"(r) : "f"(low), "f"(high));
  return r;
}
template <>
TENON_DEVICE uint32_t pack<bf16>(float low, float high) {
  uint32_t r;
  asm("cvt.rn.bf16x2.f32 %0, %2, %1;" : "=r"(r) : "f"(low), "f"(high));
  return r;
}

TENON_DEVICE float to_float(f16 x) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x.bits));
  return r;
}
TENON_DEVICE float to_float(bf16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }

template <class T>
TENON_DEVICE T from_float(float x) {
  return T{static_cast<uint16_t>(pack<T>(x, 0.f))};
}

// x is the lower address.
template <class T>
TENON_DEVICE float2 unpack(uint32_t pair) {
  return {to_float(T{static_cast<uint16_t>(pair)}), to_float(T{static_cast<uint16_t>(pair >> 16)})};
}
template <>
TENON_DEVICE float2 unpack<bf16>(uint32_t pair) {
  return {__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u)};
}

// Eight elements of a 16-byte vector.
template <class T>
TENON_DEVICE void unpack8(uint4 v, float (&out)[8]) {
  const uint32_t pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 f = unpack<T>(pairs[i]);
    out[2 * i] = f.x;
    out[2 * i + 1] = f.y;
  }
}
template <class T>
TENON_DEVICE uint4 pack8(const float (&v)[8]) {
  return {pack<T>(v[0], v[1]), pack<T>(v[2], v[3]), pack<T>(v[4], v[5]), pack<T>(v[6], v[7])};
}
