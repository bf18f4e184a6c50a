// Products of narrow factors, and what makes and widens such factors. Four bytes of a row of A, a group, are multiplied
// by four bytes of each column of B at once: by VNNI, AVX512-BF16, 16-bit multiply-adds or, tile by tile, AMX.
#pragma once

#include "kernels/cpu/math-inl.h"
#if HWY_TARGET == HWY_SCALAR
#include <cstring>

#include "base/dtype.h"
#else
#include <immintrin.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

#if HWY_TARGET == HWY_SCALAR

void int8_tile(const DotTile& t) {
  auto* c = static_cast<int32_t*>(t.c);
  for (int r = 0; r < t.rows; ++r) {
    const auto* a = reinterpret_cast<const uint8_t*>(t.a + r * t.a_stride);
    for (int j = 0; j < t.panels * kPanel; ++j) {
      const auto* b = reinterpret_cast<const int8_t*>(t.b + j / kPanel * t.b_panel_stride + j % kPanel * 4);
      int32_t sum = 0;
      for (int64_t g = 0; g < t.groups; ++g)
        for (int i = 0; i < 4; ++i) sum += a[g * 4 + i] * b[g * 4 * kPanel + i];
      c[r * t.c_stride + j] = sum;
    }
  }
}

constexpr DotCode int8_code(Isa) { return {.tile = int8_tile, .rows = 4, .panels = 1}; }
// So that all code around products of bf16 runs, and is tested, on every machine.
void bf16_tile(const DotTile& t) {
  auto* c = static_cast<float*>(t.c);
  const auto widened = [](const std::byte* p) {
    BF16 v;
    std::memcpy(&v.bits, p, sizeof v.bits);
    return static_cast<float>(v);
  };
  for (int r = 0; r < t.rows; ++r) {
    for (int j = 0; j < t.panels * kPanel; ++j) {
      const std::byte *a = t.a + r * t.a_stride, *b = t.b + j / kPanel * t.b_panel_stride + j % kPanel * 4;
      float sum = 0;
      for (int64_t g = 0; g < t.groups; ++g)
        for (int i = 0; i < 2; ++i) sum += widened(a + g * 4 + i * 2) * widened(b + g * 4 * kPanel + i * 2);
      c[r * t.c_stride + j] = sum;
    }
  }
}

constexpr DotCode bf16_code(Isa) { return {.tile = bf16_tile, .rows = 4, .panels = 1}; }

#else

enum class Dot { kWords, kBytes, kBf16 };

#if HWY_CAP_GE512
using Raw = __m512i;
constexpr int kDotRows = 8, kDotPanels = 3;
HWY_INLINE Raw zero_raw() { return _mm512_setzero_si512(); }
HWY_INLINE Raw load_raw(const std::byte* p) { return _mm512_loadu_si512(p); }
HWY_INLINE void store_raw(Raw v, void* p) { _mm512_storeu_si512(p, v); }
HWY_INLINE Raw broadcast(int32_t x) { return _mm512_set1_epi32(x); }
#else
using Raw = __m256i;
constexpr int kDotRows = 6, kDotPanels = 1;
HWY_INLINE Raw zero_raw() { return _mm256_setzero_si256(); }
HWY_INLINE Raw load_raw(const std::byte* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
HWY_INLINE void store_raw(Raw v, void* p) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }
HWY_INLINE Raw broadcast(int32_t x) { return _mm256_set1_epi32(x); }
#endif

#if HWY_CAP_GE512
#define TENON_DOT_BYTES "vpdpbusd "
#else
#define TENON_DOT_BYTES "%{vex%} vpdpbusd "
#endif

// sum[v] += group . column[v] in every group of four bytes: one row of a tile.
//
// Assembly, for three reasons: compilers spill the sums around the intrinsics or copy them to and fro, where the
// processor has hardly an instruction to spare; and the object's flags stand for the least processor that runs it.
template <Dot kDot, int kVectors>
HWY_INLINE void add_row(Raw (&sum)[kVectors], const int32_t& group, const Raw (&column)[kVectors]) {
  static_assert(kVectors <= 3);
  Raw x;
  if constexpr (kDot == Dot::kWords) {
    asm("vpbroadcastd %1, %0" : "=v"(x) : "m"(group));
    HWY_UNROLL(3)
    for (int v = 0; v < kVectors; ++v) {
      Raw product;
      asm("vpmaddwd %3, %2, %1\n vpaddd %1, %0, %0" : "+v"(sum[v]), "=&v"(product) : "v"(x), "v"(column[v]));
    }
  } else if constexpr (kVectors == 1) {
    if constexpr (kDot == Dot::kBytes)
      asm("vpbroadcastd %2, %1\n" TENON_DOT_BYTES "%3, %1, %0" : "+v"(sum[0]), "=&v"(x) : "m"(group), "v"(column[0]));
    else
      asm("vpbroadcastd %2, %1\n vdpbf16ps %3, %1, %0" : "+v"(sum[0]), "=&v"(x) : "m"(group), "v"(column[0]));
  } else if constexpr (kVectors == 2) {
    if constexpr (kDot == Dot::kBytes)
      asm("vpbroadcastd %3, %2\n" TENON_DOT_BYTES "%4, %2, %0\n" TENON_DOT_BYTES "%5, %2, %1"
          : "+v"(sum[0]), "+v"(sum[1]), "=&v"(x)
          : "m"(group), "v"(column[0]), "v"(column[1]));
    else
      asm("vpbroadcastd %3, %2\n vdpbf16ps %4, %2, %0\n vdpbf16ps %5, %2, %1"
          : "+v"(sum[0]), "+v"(sum[1]), "=&v"(x)
          : "m"(group), "v"(column[0]), "v"(column[1]));
  } else {
    if constexpr (kDot == Dot::kBytes)
      asm("vpbroadcastd %4, %3\n" TENON_DOT_BYTES "%5, %3, %0\n" TENON_DOT_BYTES "%6, %3, %1\n" TENON_DOT_BYTES
          "%7, %3, %2"
          : "+v"(sum[0]), "+v"(sum[1]), "+v"(sum[2]), "=&v"(x)
          : "m"(group), "v"(column[0]), "v"(column[1]), "v"(column[2]));
    else
      asm("vpbroadcastd %4, %3\n vdpbf16ps %5, %3, %0\n vdpbf16ps %6, %3, %1\n vdpbf16ps %7, %3, %2"
          : "+v"(sum[0]), "+v"(sum[1]), "+v"(sum[2]), "=&v"(x)
          : "m"(group), "v"(column[0]), "v"(column[1]), "v"(column[2]));
  }
}

template <Dot kDot, int kRows, int kPanels>
void dot_tile(const DotTile& t) {
  constexpr int kBytes = static_cast<int>(sizeof(Raw)), kPerPanel = 4 * kPanel / kBytes;
  constexpr int kVectors = kPanels * kPerPanel;
  constexpr int kUnroll = 2;  // groups is a multiple
  constexpr int kNear = 4;    // rows that are addressed from one pointer
  Raw sum[kRows][kVectors];
  HWY_UNROLL(32)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = zero_raw();
  }
  const std::byte* a[2] = {t.a, t.a + kNear * t.a_stride};
  asm("" : "+r"(a[1]));  // or the compiler finds a pointer for each row, and there are not so many registers
  const std::byte* b = t.b;
  const int64_t a_stride = t.a_stride, panel_stride = t.b_panel_stride;
  const Prefetch next = t.prefetch;
  const char* from = next.from;
  for (int64_t g = t.groups; g > 0; g -= kUnroll) {
    HWY_UNROLL(2)
    for (int u = 0; u < kUnroll; ++u) {
      Raw column[kVectors];
      HWY_UNROLL(32)
      for (int v = 0; v < kVectors; ++v)
        column[v] = load_raw(b + v / kPerPanel * panel_stride + v % kPerPanel * kBytes + u * 4 * kPanel);
      HWY_UNROLL(32)
      for (int r = 0; r < kRows; ++r)
        add_row<kDot>(sum[r], *reinterpret_cast<const int32_t*>(a[r / kNear] + r % kNear * a_stride + u * 4), column);
      prefetch(from, next);
    }
    a[0] += kUnroll * 4;
    a[1] += kUnroll * 4;
    b += kUnroll * 4 * kPanel;
  }
  auto* c = static_cast<int32_t*>(t.c);
  HWY_UNROLL(32)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) store_raw(sum[r][v], c + r * t.c_stride + v * (kBytes / 4));
  }
}

#undef TENON_DOT_BYTES

template <Dot kDot, int kRows>
void dot_rows(const DotTile& t) {
#if HWY_CAP_GE512
  if (t.panels == 3) return dot_tile<kDot, kRows, 3>(t);
  if (t.panels == 2) return dot_tile<kDot, kRows, 2>(t);
#endif
  dot_tile<kDot, kRows, 1>(t);
}

template <Dot kDot>
void dot(const DotTile& t) {
  switch (t.rows) {
    case 1:
      return dot_rows<kDot, 1>(t);
    case 2:
      return dot_rows<kDot, 2>(t);
    case 3:
      return dot_rows<kDot, 3>(t);
    case 4:
      return dot_rows<kDot, 4>(t);
    case 5:
      return dot_rows<kDot, 5>(t);
    case 6:
      return dot_rows<kDot, 6>(t);
#if HWY_CAP_GE512
    case 7:
      return dot_rows<kDot, 7>(t);
    case 8:
      return dot_rows<kDot, 8>(t);
#endif
    default:
      return;
  }
}

template <Dot kDot>
constexpr DotCode dot_code() {
  return {.tile = dot<kDot>, .rows = kDotRows, .panels = kDotPanels, .wide = kDot == Dot::kWords};
}

#if HWY_CAP_GE512

// ---- AMX: tiles of 16 rows by 64 bytes; 0 to 3 hold sums, 4 and 5 rows of A, 6 and 7 panels of B.

constexpr int kAmxRows = 16;

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};  // of a row
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

void configure(const TileConfig& config) { asm volatile("ldtilecfg %0" ::"m"(config)); }
void amx_begin() { configure({}); }
void amx_end() { asm volatile("tilerelease" ::); }

template <int kTile>
HWY_INLINE void tile_load(const std::byte* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
HWY_INLINE void tile_store(int32_t* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
}
// C += A B
template <Dot kDot, int kC, int kA, int kB>
HWY_INLINE void tile_dot() {
  if constexpr (kDot == Dot::kBytes)
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
  else
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
}

// The lines of one step of tiles, `kGroupStep` steps of a prefetch, each once.
HWY_INLINE void prefetch_lines(const char* from, const Prefetch& p) {
  for (int i = 0; i < p.panels; ++i, from += p.stride)
    for (int64_t at = 0; at < kGroupStep * p.step; at += 64) __builtin_prefetch(from + at, 0, 2);
}

// Two by two tiles of sums: four loads of 8 cycles for four products of 16, hidden if they hit the first-level cache
// (73 % of the peak measured on a virtual machine with Sapphire Rapids or newer). Here both A and B come from the
// second level, 64 bytes a cycle at the peak's rate, which is its limit: 46 to 53 % at K = 768. Cutting the depth into
// pieces that fit the first level costs as much, in loads and stores of sums, as it saves (40 % in pieces of 256).
//
// A weight of bf16 serves 128 multiply-adds for 128 rows, so a core at the peak of 3.4 Tflop/s would eat 27 GB/s of
// weights, and one of that machine's gets 17 from memory: there few rows are bound by the memory, with all cores (9
// GB/s each) more so.
template <Dot kDot, bool kTall, bool kBroad>
void amx_tile(const DotTile& t) {
  asm volatile("tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n tilezero %%tmm3" ::);
  constexpr int64_t kRow = 64;  // bytes of a tile's row
  const std::byte *a = t.a, *b = t.b;
  const char *from = t.prefetch.from, *rows = t.next_rows.from;
  for (int64_t g = 0; g < t.groups; g += kGroupStep) {
    tile_load<6>(b, kRow);
    tile_load<4>(a, t.a_stride);
    tile_dot<kDot, 0, 4, 6>();
    if constexpr (kTall) {
      tile_load<5>(a + kAmxRows * t.a_stride, t.a_stride);
      tile_dot<kDot, 2, 5, 6>();
    }
    if constexpr (kBroad) {
      tile_load<7>(b + t.b_panel_stride, kRow);
      tile_dot<kDot, 1, 4, 7>();
    }
    if constexpr (kTall && kBroad) tile_dot<kDot, 3, 5, 7>();
    prefetch_lines(from, t.prefetch);
    from += kGroupStep * t.prefetch.step;
    prefetch_lines(rows, t.next_rows);
    rows += kGroupStep * t.next_rows.step;
    a += kRow;
    b += kRow * kGroupStep;
  }
  auto* c = static_cast<int32_t*>(t.c);
  const int64_t c_bytes = t.c_stride * 4;
  tile_store<0>(c, c_bytes);
  if constexpr (kBroad) tile_store<1>(c + kPanel, c_bytes);
  if constexpr (kTall) tile_store<2>(c + kAmxRows * t.c_stride, c_bytes);
  if constexpr (kTall && kBroad) tile_store<3>(c + kAmxRows * t.c_stride + kPanel, c_bytes);
}

template <Dot kDot>
void amx_whole(const DotTile& t) {
  const bool tall = t.rows > kAmxRows, broad = t.panels > 1;
  if (tall && broad) return amx_tile<kDot, true, true>(t);
  if (tall) return amx_tile<kDot, true, false>(t);
  if (broad) return amx_tile<kDot, false, true>(t);
  amx_tile<kDot, false, false>(t);
}

template <Dot kDot>
void amx(const DotTile& t) {
  const int last = t.rows % kAmxRows;
  if (last == 0) return amx_whole<kDot>(t);
  // Shorter tiles, so that nothing behind the rows is touched.
  TileConfig config;
  const bool tall = t.rows > kAmxRows;
  for (const int tile : {tall ? 2 : 0, tall ? 3 : 1, tall ? 5 : 4}) config.rows[tile] = static_cast<uint8_t>(last);
  configure(config);
  amx_whole<kDot>(t);
  configure({});
}

template <Dot kDot>
constexpr DotCode amx_code() {
  return {.tile = amx<kDot>, .rows = 2 * kAmxRows, .panels = 2, .wide = false, .begin = amx_begin, .end = amx_end};
}

constexpr DotCode int8_code(Isa isa) {
  if (isa == Isa::kAmx) return amx_code<Dot::kBytes>();
  return isa >= Isa::kAvx512Vnni ? dot_code<Dot::kBytes>() : dot_code<Dot::kWords>();
}
constexpr DotCode bf16_code(Isa isa) {
  if (isa == Isa::kAmx) return amx_code<Dot::kBf16>();
  return isa == Isa::kAvx512Bf16 ? dot_code<Dot::kBf16>() : DotCode{};
}

#else

constexpr DotCode int8_code(Isa isa) {
  return isa == Isa::kAvxVnni ? dot_code<Dot::kBytes>() : dot_code<Dot::kWords>();
}
constexpr DotCode bf16_code(Isa) { return {}; }

#endif  // HWY_CAP_GE512
#endif  // HWY_TARGET != HWY_SCALAR

// The least and the greatest of x and 0; both NaN where x holds NaN or infinity.
void row_range(const float* x, int64_t k, float* low, float* high) {
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
    for (int i = 0; i < kWays; ++i) take(i, load(x + j + i * kLanes));
  }
  for (; j + kLanes <= k; j += kLanes) take(0, load(x + j));
  if (const int64_t n = k - j; n > 0) take(1, load(x + j, n));
  for (int i = 1; i < kWays; ++i) {
    least[0] = hn::Min(least[0], least[i]);
    greatest[0] = hn::Max(greatest[0], greatest[i]);
    spoilt[0] = hn::Add(spoilt[0], spoilt[i]);
  }
  const float nan_or_zero = hn::GetLane(hn::SumOfLanes(d, spoilt[0]));
  *low = hn::GetLane(hn::MinOfLanes(d, least[0])) + nan_or_zero;
  *high = hn::GetLane(hn::MaxOfLanes(d, greatest[0])) + nan_or_zero;
}

#if HWY_TARGET != HWY_SCALAR
// Sixteen (eight) elements as integers; x * inverse + zero lies within half a step of 0 … 255 (ops/quantize.h), or
// row.step is NaN and nobody looks.
template <class T>
HWY_INLINE void quantize_lanes(V x, V inverse, Raw zero, T* out) {
#if HWY_CAP_GE512
  const Raw q = _mm512_add_epi32(_mm512_cvtps_epi32(hn::Mul(x, inverse).raw), zero);
  if constexpr (sizeof(T) == 1)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm512_cvtusepi32_epi8(q));
  else
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(_mm512_min_epi32(q, broadcast(255))));
#else
  const Raw q = _mm256_add_epi32(_mm256_cvtps_epi32(hn::Mul(x, inverse).raw), zero);
  const Raw least = _mm256_min_epi32(q, broadcast(255));
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(least), _mm256_extracti128_si256(least, 1));
  if constexpr (sizeof(T) == 1)
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_packus_epi16(words, words));
  else
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), words);
#endif
}
#endif

template <class T>
void quantize_row(const float* x, int64_t k, const ops::RowScale& row, int64_t size, std::byte* bytes) {
  auto* out = reinterpret_cast<T*>(bytes);
  int64_t end = 0;
#if HWY_TARGET == HWY_SCALAR
  for (; end < k; ++end) out[end] = static_cast<T>(ops::quantize(x[end], row));
#else
  const V inverse = set(row.inverse);
  const Raw zero = broadcast(row.zero);
  for (; end + kLanes <= k; end += kLanes) quantize_lanes(load(x + end), inverse, zero, out + end);
  if (const int64_t n = k - end; n > 0) {
    quantize_lanes(load(x + end, n), inverse, zero, out + end);
    end += kLanes;
  }
#endif
  for (; end < size; ++end) out[end] = 0;
}

void round(const float* x, int64_t count, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store_bf16(load(x + i), out + i);
  if (const int64_t n = count - i; n > 0) store_bf16(load(x + i, n), out + i, n);
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
