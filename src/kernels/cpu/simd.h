// Highway for one instruction set per object file: the compiler's flags choose it. Included by the *-inl.h files only.
#pragma once

#ifndef HWY_COMPILE_ONLY_SCALAR
#define HWY_COMPILE_ONLY_STATIC
#endif
#define HWY_DISABLE_PCLMUL_AES  // not used, so not demanded of the machine

#include <hwy/highway.h>

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
