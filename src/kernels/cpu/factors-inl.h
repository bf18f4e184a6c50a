// What makes narrow factors of f32, and wider ones of them.
#pragma once

#include "kernels/cpu/dot-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

// The least and the greatest of x and 0; both NaN where x holds NaN or infinity.
template <class Held>
void row_range_of(const typename Held::T* x, int64_t k, float* low, float* high) {
  constexpr int kWays = 4;  // hide the latency of one comparison
  V least[kWays], greatest[kWays], spoilt[kWays];
  for (int i = 0; i < kWays; ++i) least[i] = greatest[i] = spoilt[i] = hn::Zero(d);
  const auto take = [&](int i, V v) {
    least[i] = hn::Min(v, least[i]);
    greatest[i] = hn::Max(v, greatest[i]);
    spoilt[i] = hn::MulAdd(v, hn::Zero(d), spoilt[i]);  // NaN where v is not finite
  };
  int64_t j = 0;
  for (; j + kWays * kLanes <= k; j += kWays * kLanes) {
    HWY_UNROLL(4)
    for (int i = 0; i < kWays; ++i) take(i, Held::read(x + j + i * kLanes, kLanes));
  }
  for (; j + kLanes <= k; j += kLanes) take(0, Held::read(x + j, kLanes));
  if (const int64_t n = k - j; n > 0) take(1, Held::read(x + j, n));
  for (int i = 1; i < kWays; ++i) {
    least[0] = hn::Min(least[0], least[i]);
    greatest[0] = hn::Max(greatest[0], greatest[i]);
    spoilt[0] = hn::Add(spoilt[0], spoilt[i]);
  }
  const float nan_or_zero = hn::GetLane(hn::SumOfLanes(d, spoilt[0]));
  *low = hn::GetLane(hn::MinOfLanes(d, least[0])) + nan_or_zero;
  *high = hn::GetLane(hn::MaxOfLanes(d, greatest[0])) + nan_or_zero;
}

void row_range(const void* x, bool bf16, int64_t k, float* low, float* high) {
  if (bf16) return row_range_of<Bf16s<false>>(static_cast<const uint16_t*>(x), k, low, high);
  row_range_of<Floats>(static_cast<const float*>(x), k, low, high);
}

#if HWY_TARGET != HWY_SCALAR
struct LaneScale {
  V inverse, least, most;
  Raw zero;
  explicit LaneScale(const ops::RowScale& row)
      : inverse(set(row.inverse)),
        least(set(static_cast<float>(-row.zero))),
        most(set(static_cast<float>(255 - row.zero))),
        zero(broadcast(row.zero)) {}
};

// ops::quantize of sixteen (eight) elements. The maximum of NaN and a number is here the number.
template <class T>
HWY_INLINE void quantize_lanes(V x, const LaneScale& row, T* out) {
  const V scaled = hn::Mul(x, row.inverse);
#if HWY_CAP_GE512
  const __m512 within = _mm512_min_ps(_mm512_max_ps(scaled.raw, row.least.raw), row.most.raw);
  const Raw q = _mm512_add_epi32(_mm512_cvtps_epi32(within), row.zero);
  if constexpr (sizeof(T) == 1)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtepi32_epi8(q));
  else
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(q));
#else
  const __m256 within = _mm256_min_ps(_mm256_max_ps(scaled.raw, row.least.raw), row.most.raw);
  const Raw q = _mm256_add_epi32(_mm256_cvtps_epi32(within), row.zero);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
  if constexpr (sizeof(T) == 1)
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(words, words));
  else
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), words);
#endif
}
#endif

template <class T, class Held>
void quantize_row_of(const typename Held::T* x, int64_t k, const ops::RowScale& row, int64_t size, std::byte* bytes) {
  auto* out = reinterpret_cast<T*>(bytes);
  int64_t end = 0;
#if HWY_TARGET == HWY_SCALAR
  for (; end < k; ++end) out[end] = static_cast<T>(ops::quantize(hn::GetLane(Held::read(x + end, 1)), row));
#else
  const LaneScale scale(row);
  for (; end + kLanes <= k; end += kLanes) quantize_lanes(Held::read(x + end, kLanes), scale, out + end);
  if (const int64_t n = k - end; n > 0) {
    quantize_lanes(Held::read(x + end, n), scale, out + end);
    end += kLanes;
  }
#endif
  for (; end < size; ++end) out[end] = 0;
}

template <class T>
void quantize_row_as(const void* x, bool bf16, int64_t k, const ops::RowScale& row, int64_t size, std::byte* out) {
  if (bf16) return quantize_row_of<T, Bf16s<false>>(static_cast<const uint16_t*>(x), k, row, size, out);
  quantize_row_of<T, Floats>(static_cast<const float*>(x), k, row, size, out);
}

void quantize_row(const void* x, bool bf16, int64_t k, const ops::RowScale& row, int64_t size, bool wide,
                  std::byte* out) {
  if (wide) return quantize_row_as<int16_t>(x, bf16, k, row, size, out);
  quantize_row_as<uint8_t>(x, bf16, k, row, size, out);
}

void round(const float* x, int64_t count, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store_bf16(load(x + i), out + i);
  if (const int64_t n = count - i; n > 0) store_bf16(load(x + i, n), out + i, n);
}

template <bool kNative>
void round_sums(const float* x, int64_t count, float factor, uint16_t* out) {
  const V f = set(factor);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store_sums<kNative>(hn::Mul(load(x + i), f), out + i);
  if (const int64_t n = count - i; n > 0) store_bf16(hn::Mul(load(x + i, n), f), out + i, n);
}

void widen(const uint16_t* x, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(load_bf16(x + i), out + i);
  if (const int64_t n = count - i; n > 0) store(load_bf16(x + i, n), out + i, n);
}

void pack_pairs(const uint16_t* x, int64_t stride, int64_t rows, int64_t columns, int64_t groups, std::byte* out) {
  auto* to = reinterpret_cast<uint32_t*>(out);
  for (int64_t first = 0; first < columns; first += kPanel) {
    for (int64_t g = 0; g < groups; ++g, to += kPanel) {
      for (int64_t j = 0; j < kPanel; j += kLanes) {
        const auto row = [&](int64_t i) {
          return i < rows ? hn::PromoteTo(DU(), hn::LoadU(D16(), x + i * stride + first + j)) : hn::Zero(DU());
        };
        hn::StoreU(hn::Or(row(2 * g), hn::ShiftLeft<16>(row(2 * g + 1))), DU(), to + j);
      }
    }
  }
}

void widen_int8(const std::byte* panel, int64_t groups, std::byte* bytes) {
#if HWY_TARGET == HWY_SCALAR
  const auto* from = reinterpret_cast<const int8_t*>(panel);
  auto* to = reinterpret_cast<int16_t*>(bytes);
  for (int64_t g = 0; g < groups; ++g)
    for (int j = 0; j < kPanel; ++j)
      for (int i = 0; i < 4; ++i) to[(2 * g + i / 2) * 2 * kPanel + 2 * j + i % 2] = from[(g * kPanel + j) * 4 + i];
#else
  // Bytes 0 to 3 of a column as words: 0 and 2 are the even ones, 1 and 3 the odd ones.
  const DI di;
  const hn::RebindToUnsigned<D> du;
  const hn::Repartition<int16_t, D> dw;
  const auto* from = reinterpret_cast<const int32_t*>(panel);
  auto* to = reinterpret_cast<int32_t*>(bytes);
  for (int64_t g = 0; g < groups; ++g, to += 2 * kPanel) {
    for (int64_t j = 0; j < kPanel; j += kLanes, from += kLanes) {
      const auto words = hn::BitCast(dw, hn::LoadU(di, from));
      const auto even = hn::BitCast(du, hn::ShiftRight<8>(hn::ShiftLeft<8>(words)));
      const auto odd = hn::BitCast(du, hn::ShiftRight<8>(words));
      const auto first = hn::OddEven(hn::BitCast(dw, hn::ShiftLeft<16>(odd)), hn::BitCast(dw, even));
      const auto second = hn::OddEven(hn::BitCast(dw, odd), hn::BitCast(dw, hn::ShiftRight<16>(even)));
      hn::StoreU(hn::BitCast(di, first), di, to + j);
      hn::StoreU(hn::BitCast(di, second), di, to + kPanel + j);
    }
  }
#endif
}

void widen_bf16(const std::byte* panel, int64_t groups, float* out) {
  const hn::RebindToUnsigned<D> du;
  const auto* from = reinterpret_cast<const uint32_t*>(panel);
  for (int64_t g = 0; g < groups; ++g, out += 2 * kPanel) {
    for (int64_t j = 0; j < kPanel; j += kLanes, from += kLanes) {
      const auto pair = hn::LoadU(du, from);
      store(hn::BitCast(d, hn::ShiftLeft<16>(pair)), out + j);
      store(hn::BitCast(d, hn::And(pair, hn::Set(du, 0xffff0000u))), out + kPanel + j);
    }
  }
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
