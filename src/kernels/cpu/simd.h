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

// store_bf16 of results of arithmetic, whose NaNs are quiet; by the instruction of AVX512-BF16 too, which takes numbers
// too small for a normal one as zero.
template <bool kNative>
HWY_INLINE void store_sums(V v, uint16_t* p) {
#if HWY_TARGET != HWY_SCALAR && HWY_CAP_GE512
  hn::Vec<D16> halves;
  if constexpr (kNative) {
    asm("vcvtneps2bf16 %1, %0" : "=v"(halves.raw) : "v"(v.raw));
  } else {
    const DU du;
    const auto bits = hn::BitCast(du, v);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1));
    const auto up = hn::Add(odd, hn::Set(du, 0x7fff));
    const auto number = hn::RebindMask(du, hn::Not(hn::IsNaN(v)));
    halves.raw =
        _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_mask_add_epi32(bits.raw, number.raw, bits.raw, up.raw), 16));
  }
  hn::StoreU(halves, D16(), p);
#else
  store_bf16(v, p);
#endif
}

// Elements that are f32, and those that are bf16; n as above, or kLanes.
struct Floats {
  using T = float;
  static HWY_INLINE V read(const T* p, int64_t n) { return n < kLanes ? load(p, n) : load(p); }
  static HWY_INLINE void write(V v, T* p, int64_t n) { n < kLanes ? store(v, p, n) : store(v, p); }
};
template <bool kNative>
struct Bf16s {
  using T = uint16_t;
  static HWY_INLINE V read(const T* p, int64_t n) { return n < kLanes ? load_bf16(p, n) : load_bf16(p); }
  static HWY_INLINE void write(V v, T* p, int64_t n) { n < kLanes ? store_bf16(v, p, n) : store_sums<kNative>(v, p); }
};

// Panels of a tile are longer than the first-level cache: what a loop will read in sixteen steps, from the second
// level.
template <int kVectors>
HWY_INLINE void prefetch_columns([[maybe_unused]] const char* b, [[maybe_unused]] int64_t panel_stride) {
#if HWY_TARGET != HWY_SCALAR && HWY_CAP_GE512
  HWY_UNROLL(4)
  for (int v = 0; v < kVectors; ++v) __builtin_prefetch(b + v * panel_stride + 16 * 64, 0, 3);
#endif
}

// A prefetch in the loop of a tile, which has hardly an instruction to spare: one line at every second step, without a
// branch, even where a line is fetched several times so, or one that is near already (any datum at hand). Where that
// does not suffice (`many`) a line of each panel at every step, which always does.
class Fetch {
 public:
  Fetch(const Prefetch& p, int64_t steps, const void* near) : from_(static_cast<const char*>(near)) {
    if (p.panels == 0 || steps == 0) return;
    from_ = p.from;
    advance_ = (p.bytes + steps - 1) / steps;
    many_ = p.panels > 1 || 2 * advance_ > 64;
    if (p.panels > 1) second_ = p.stride;
    third_ = p.panels > 2 ? 2 * p.stride : second_;
  }
  bool many() const { return many_; }
  HWY_INLINE void two_steps() {
    __builtin_prefetch(from_, 0, 2);
    from_ += 2 * advance_;
  }
  HWY_INLINE void step_of_many() {
    __builtin_prefetch(from_, 0, 2);
    __builtin_prefetch(from_ + second_, 0, 2);
    __builtin_prefetch(from_ + third_, 0, 2);
    from_ += advance_;
  }

 private:
  const char* from_;
  int64_t advance_ = 0, second_ = 0, third_ = 0;
  bool many_ = false;
};

// Calls tile.operator()<rows>(), rows in 1 … kMost.
template <int kMost, class Tile>
HWY_INLINE void with_rows(int rows, const Tile& tile) {
  switch (rows) {
    case 1:
      return tile.template operator()<1>();
    case 2:
      return tile.template operator()<2>();
    case 3:
      return tile.template operator()<3>();
    case 4:
      return tile.template operator()<4>();
    case 5:
      if constexpr (kMost >= 5) tile.template operator()<5>();
      return;
    case 6:
      if constexpr (kMost >= 6) tile.template operator()<6>();
      return;
    case 7:
      if constexpr (kMost >= 7) tile.template operator()<7>();
      return;
    case 8:
      if constexpr (kMost >= 8) tile.template operator()<8>();
      return;
    default:
      return;
  }
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
