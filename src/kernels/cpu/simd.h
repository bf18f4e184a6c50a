// Highway for one instruction set per object file: the compiler's flags choose it. Included by the *-inl.h files only.
#pragma once

#ifndef HWY_COMPILE_ONLY_SCALAR
#define HWY_COMPILE_ONLY_STATIC
#endif
#define HWY_DISABLE_PCLMUL_AES  // not used, so not demanded of the machine

#include <hwy/highway.h>

#include <cstring>

#include "kernels/cpu/vector_code.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr D d;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(D()));

HWY_INLINE V set(float x) { return hn::Set(d, x); }
HWY_INLINE V load(const float* p) { return hn::LoadU(d, p); }
HWY_INLINE void store(V v, float* p) { hn::StoreU(v, d, p); }

// The first `n` < kLanes lanes; the others read as zero and stay unwritten.
HWY_INLINE V load(const float* p, int64_t n) { return hn::MaskedLoad(hn::FirstN(d, static_cast<size_t>(n)), d, p); }
HWY_INLINE void store(V v, float* p, int64_t n) { hn::BlendedStore(v, hn::FirstN(d, static_cast<size_t>(n)), d, p); }

// bf16 as f32; rounded to nearest even, NaN stays NaN. As above `n` < kLanes.
using D16 = hn::Rebind<uint16_t, D>;
using DU = hn::RebindToUnsigned<D>;
using DI = hn::RebindToSigned<D>;
HWY_INLINE V widened(hn::Vec<D16> v) { return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(DU(), v))); }
HWY_INLINE hn::Vec<D16> rounded(V v) {
  const DU du;
  const auto bits = hn::BitCast(du, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
  const auto nearest = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7fff))));
  const auto nan = hn::Or(hn::ShiftRight<16>(bits), hn::Set(du, 0x40));
  return hn::DemoteTo(D16(), hn::BitCast(DI(), hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), nan, nearest)));
}
HWY_INLINE V load_bf16(const uint16_t* p) { return widened(hn::LoadU(D16(), p)); }
// Masked accesses of 16 bits may touch what is masked, so the last ones go through a buffer.
HWY_INLINE V load_bf16(const uint16_t* p, int64_t n) {
  uint16_t lanes[kLanes] = {};
  std::memcpy(lanes, p, static_cast<size_t>(n) * sizeof *p);
  return load_bf16(lanes);
}
HWY_INLINE void store_bf16(V v, uint16_t* p) { hn::StoreU(rounded(v), D16(), p); }
HWY_INLINE void store_bf16(V v, uint16_t* p, int64_t n) {
  uint16_t lanes[kLanes];
  store_bf16(v, lanes);
  std::memcpy(p, lanes, static_cast<size_t>(n) * sizeof *p);
}

// store_bf16 by the instruction of AVX512-BF16, for sums that are rounded as they are made; it takes numbers too small
// for a normal one as zero.
template <bool kNative>
HWY_INLINE void store_sums(V v, uint16_t* p) {
#if HWY_TARGET != HWY_SCALAR && HWY_CAP_GE512
  if constexpr (kNative) {
    hn::Vec<D16> halves;
    asm("vcvtneps2bf16 %1, %0" : "=v"(halves.raw) : "v"(v.raw));
    hn::StoreU(halves, D16(), p);
    return;
  }
#endif
  store_bf16(v, p);
}

// One step of a prefetch.
HWY_INLINE void prefetch(const char*& from, const Prefetch& p) {
  if (p.panels == 0) return;
  __builtin_prefetch(from, 0, 2);
  if (p.panels > 1) __builtin_prefetch(from + p.stride, 0, 2);
  if (p.panels > 2) __builtin_prefetch(from + 2 * p.stride, 0, 2);
  from += p.step;
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
