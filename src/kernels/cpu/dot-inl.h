// Products of narrow factors. Four bytes of a row of A, a group, are multiplied by four bytes of each column of B at
// once: by VNNI, AVX512-BF16, 16-bit multiply-adds or, tile by tile, AMX.
#pragma once

#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/prefetch.h"
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
constexpr DotCode int8_quads_code(Isa isa) { return int8_code(isa); }
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

// kQuads: bytes, the second factors such that sums of four products fit 16 bits (ops/quantize.h).
enum class Dot { kWords, kQuads, kBytes, kBf16 };

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

// Multiples of the distance between rows from which one instruction forms the address of any row of a tile: additions
// beside it would take the places of products, as both run on the same ports.
struct RowIndex {
  int64_t zero, one, three, five, seven;
  explicit RowIndex(int64_t stride) : zero(0), one(stride), three(3 * stride), five(5 * stride), seven(7 * stride) {
    asm("" : "+r"(zero), "+r"(three), "+r"(five), "+r"(seven));  // so that they are kept, not found again
  }
  template <int kRow>
  HWY_INLINE int64_t index() const {
    static_assert(kRow < 8);
    return kRow == 0 ? zero : kRow == 3 || kRow == 6 ? three : kRow == 5 ? five : kRow == 7 ? seven : one;
  }
};
template <int kRow>
constexpr int kIndexScale = kRow == 4                ? 4
                            : kRow == 2 || kRow == 6 ? 2
                                                     : 1;

#define TENON_BROADCAST "vpbroadcastd %c[offset](%[a],%[index],%c[scale]), %[x]\n"
#define TENON_GROUP(offset_in_row) \
  [a] "r"(a), [index] "r"(rows.index<kRow>()), [scale] "i"(kIndexScale<kRow>), [offset] "i"(offset_in_row)

// sum[v] += group . column[v] in every group of four bytes: one row of a tile, kOffset bytes into the row. Nothing
// tells the compiler that A is read: it stands in memory before the tile begins, and no tile writes it.
//
// Assembly, for three reasons: compilers spill the sums around the intrinsics or copy them to and fro, where the
// processor has hardly an instruction to spare; and the object's flags stand for the least processor that runs it.
template <Dot kDot, int kRow, int kOffset, int kVectors>
HWY_INLINE void add_row(Raw (&sum)[kVectors], const std::byte* a, const RowIndex& rows, const Raw (&column)[kVectors]) {
  static_assert(kVectors <= 3);
  Raw x;
  if constexpr (kDot == Dot::kWords) {
    asm(TENON_BROADCAST : [x] "=v"(x) : TENON_GROUP(kOffset));
    HWY_UNROLL(3)
    for (int v = 0; v < kVectors; ++v) {
      Raw product;
      asm("vpmaddwd %3, %2, %1\n vpaddd %1, %0, %0" : "+v"(sum[v]), "=&v"(product) : "v"(x), "v"(column[v]));
    }
  } else {
#define TENON_SUMS_1 [x] "=&v"(x), [s0] "+v"(sum[0])
#define TENON_SUMS_2 TENON_SUMS_1, [s1] "+v"(sum[1])
#define TENON_SUMS_3 TENON_SUMS_2, [s2] "+v"(sum[2])
#define TENON_COLUMNS_1 TENON_GROUP(kOffset), [c0] "v"(column[0])
#define TENON_COLUMNS_2 TENON_COLUMNS_1, [c1] "v"(column[1])
#define TENON_COLUMNS_3 TENON_COLUMNS_2, [c2] "v"(column[2])
#define TENON_DOTS_1(dot) TENON_BROADCAST dot "%[c0], %[x], %[s0]\n"
#define TENON_DOTS_2(dot) TENON_DOTS_1(dot) dot "%[c1], %[x], %[s1]\n"
#define TENON_DOTS_3(dot) TENON_DOTS_2(dot) dot "%[c2], %[x], %[s2]\n"
#define TENON_ADD(n)                                                           \
  if constexpr (kVectors == n && kDot == Dot::kBytes)                          \
    asm(TENON_DOTS_##n(TENON_DOT_BYTES) : TENON_SUMS_##n : TENON_COLUMNS_##n); \
  if constexpr (kVectors == n && kDot == Dot::kBf16)                           \
  asm(TENON_DOTS_##n("vdpbf16ps ") : TENON_SUMS_##n : TENON_COLUMNS_##n)
    TENON_ADD(1);
    TENON_ADD(2);
    TENON_ADD(3);
  }
}

// Rows kRow, kRow + 1 … of one group.
template <Dot kDot, int kOffset, int kRow = 0, int kRows, int kVectors>
HWY_INLINE void add_rows(Raw (&sum)[kRows][kVectors], const std::byte* a, const RowIndex& rows,
                         const Raw (&column)[kVectors]) {
  add_row<kDot, kRow, kOffset>(sum[kRow], a, rows, column);
  if constexpr (kRow + 1 < kRows) add_rows<kDot, kOffset, kRow + 1>(sum, a, rows, column);
}

// Two groups of kQuads for rows kRow, kRow + 1 …. Columns are operands in memory: the sums of a tile, the ones and what
// stands between leave no registers for them.
template <int kRow = 0, int kRows, int kVectors>
HWY_INLINE void add_quads(Raw (&sum)[kRows][kVectors], const std::byte* a, const RowIndex& rows, const std::byte* b,
                          int64_t panel_stride, Raw ones) {
  constexpr int kBytes = static_cast<int>(sizeof(Raw)), kPerPanel = 4 * kPanel / kBytes;
  Raw x, next;
  asm(TENON_BROADCAST : [x] "=v"(x) : TENON_GROUP(0));
  asm(TENON_BROADCAST : [x] "=v"(next) : TENON_GROUP(4));
  HWY_UNROLL(3)
  for (int v = 0; v < kVectors; ++v) {
    const auto* column = reinterpret_cast<const Raw*>(b + v / kPerPanel * panel_stride + v % kPerPanel * kBytes);
    const auto* beside = reinterpret_cast<const Raw*>(reinterpret_cast<const std::byte*>(column) + 4 * kPanel);
    Raw products, others;
    asm("vpmaddubsw %5, %3, %1\n vpmaddubsw %6, %4, %2\n"
        "vpaddw %2, %1, %1\n vpmaddwd %7, %1, %1\n vpaddd %1, %0, %0"
        : "+v"(sum[kRow][v]), "=&v"(products), "=&v"(others)
        : "v"(x), "v"(next), "m"(*column), "m"(*beside), "v"(ones));
  }
  if constexpr (kRow + 1 < kRows) add_quads<kRow + 1>(sum, a, rows, b, panel_stride, ones);
}

// kQuads needs four registers beside the sums.
constexpr int rows_of_tile(Dot dot) { return dot == Dot::kQuads && kDotRows == 6 ? 5 : kDotRows; }

template <Dot kDot, bool kMany, int kRows, int kVectors>
HWY_INLINE void dot_groups(const DotTile& t, Fetch& fetch, Raw (&sum)[kRows][kVectors]) {
  constexpr int kBytes = static_cast<int>(sizeof(Raw)), kPerPanel = 4 * kPanel / kBytes;
  const std::byte *a = t.a, *b = t.b;
  const RowIndex rows(t.a_stride);
  const int64_t panel_stride = t.b_panel_stride;
  const Raw ones = broadcast(0x10001);
  for (int64_t g = t.groups; g > 0; g -= 2) {  // groups is a multiple
    HWY_UNROLL(2)
    for (int u = 0; u < 2; ++u) {
      prefetch_columns<kVectors>(reinterpret_cast<const char*>(b) + u * 4 * kPanel, panel_stride);
      if constexpr (kDot == Dot::kQuads) {
        if (u == 0) add_quads(sum, a, rows, b, panel_stride, ones);
      } else {
        Raw column[kVectors];
        HWY_UNROLL(32)
        for (int v = 0; v < kVectors; ++v)
          column[v] = load_raw(b + v / kPerPanel * panel_stride + v % kPerPanel * kBytes + u * 4 * kPanel);
        if (u == 0) add_rows<kDot, 0>(sum, a, rows, column);
        if (u == 1) add_rows<kDot, 4>(sum, a, rows, column);
      }
      if constexpr (kMany) fetch.step_of_many();
    }
    if constexpr (!kMany) fetch.two_steps();
    a += 8;
    b += 8 * kPanel;
  }
}

// Rows [begin, end) into a level of the cache: 3 is the first, 2 the second.
template <int kLevel>
HWY_INLINE void fetch_rows(const RowsAhead& rows, int begin, int end) {
  if (rows.from == nullptr) return;
  for (int r = begin; r < end; ++r)
    for (int64_t at = 0; at < rows.bytes; at += 64) __builtin_prefetch(rows.from + r * rows.stride + at, 0, kLevel);
}

// Those that will be written.
HWY_INLINE void own_rows(const RowsAhead& rows, int begin, int end) {
  if (rows.from == nullptr) return;
  prefetch_rows_to_write(rows.from + begin * rows.stride, rows.stride, end - begin, rows.bytes);
}

template <Dot kDot, int kRows, int kPanels>
void dot_tile(const DotTile& t) {
  constexpr int kBytes = static_cast<int>(sizeof(Raw)), kVectors = kPanels * 4 * kPanel / kBytes;
  Raw sum[kRows][kVectors];
  HWY_UNROLL(32)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = zero_raw();
  }
  Fetch fetch(t.prefetch, t.groups, &t);
  constexpr bool kWhole = kRows == rows_of_tile(kDot) && kPanels == kDotPanels;  // the one that counts
  if (kWhole && !fetch.many())
    dot_groups<kDot, !kWhole>(t, fetch, sum);
  else
    dot_groups<kDot, true>(t, fetch, sum);
  auto* c = static_cast<int32_t*>(t.c);
  HWY_UNROLL(32)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) store_raw(sum[r][v], c + r * t.c_stride + v * (kBytes / 4));
  }
}

#undef TENON_ADD
#undef TENON_DOTS_3
#undef TENON_DOTS_2
#undef TENON_DOTS_1
#undef TENON_COLUMNS_3
#undef TENON_COLUMNS_2
#undef TENON_COLUMNS_1
#undef TENON_SUMS_3
#undef TENON_SUMS_2
#undef TENON_SUMS_1
#undef TENON_GROUP
#undef TENON_BROADCAST
#undef TENON_DOT_BYTES

template <Dot kDot>
void dot(const DotTile& t) {
  fetch_rows<3>(t.residual, 0, t.rows);
  own_rows(t.y, 0, t.rows);
  with_rows<rows_of_tile(kDot)>(t.rows, [&]<int kRows>() {
#if HWY_CAP_GE512
    if (t.panels == 3) return dot_tile<kDot, kRows, 3>(t);
    if (t.panels == 2) return dot_tile<kDot, kRows, 2>(t);
#endif
    dot_tile<kDot, kRows, 1>(t);
  });
}

template <Dot kDot>
constexpr DotCode dot_code() {
  return {.tile = dot<kDot>, .rows = rows_of_tile(kDot), .panels = kDotPanels, .wide = kDot == Dot::kWords};
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

HWY_INLINE void prefetch_lines(const char* from, const Prefetch& p, int64_t bytes) {
  for (int i = 0; i < p.panels; ++i, from += p.stride)
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(from + at, 0, 2);
}

// Two by two tiles of sums: four loads of 8 cycles for four products of 16. Each operand is loaded again as soon as its
// last product has begun. On a virtual Sapphire Rapids the processor brings A and B from its second level by itself:
// asking for the lines of the step after takes a third more time with two threads, a tenth more with sixteen. What the
// epilogue will touch it cannot know: a few lines of that in each step are worth a tenth, and with sixteen threads as much
// again where those that it writes become this processor's own (prefetchw). Not so are cutting the depth into pieces
// that fit the first level, tiles of A that stand in one piece, the epilogue of the tile before in between, and giving
// written lines to the third level at once (cldemote: 1.08 of the time).
//
// A weight of bf16 serves 128 multiply-adds for 128 rows, so a core that multiplies at 2.2 Tflop/s (with zeros 2.8)
// would eat 17 GB/s of weights, what one of that machine's gets from memory: there few rows are bound by the memory.
template <Dot kDot, bool kTall, bool kBroad>
HWY_INLINE void add_steps(const DotTile& t, int64_t steps) {
  constexpr int64_t kRow = 64;  // bytes of a tile's row
  constexpr int64_t kPanelStep = kRow * kGroupStep;
  const int64_t stride = t.a_stride, lower = kAmxRows * stride, right = t.b_panel_stride;
  const std::byte *a = t.a, *b = t.b;
  tile_load<4>(a, stride);
  tile_load<6>(b, kRow);
  if constexpr (kTall) tile_load<5>(a + lower, stride);
  if constexpr (kBroad) tile_load<7>(b + right, kRow);
  const char *panels = t.prefetch.from, *rows = t.next_rows.from;
  const int64_t panel_step = t.prefetch.bytes / steps, row_step = t.next_rows.bytes / steps;
  const int touched_a_step = static_cast<int>((t.rows + steps - 1) / steps);
  int touched = 0;
  const auto fetch = [&] {
    prefetch_lines(panels, t.prefetch, panel_step);
    panels += panel_step;
    prefetch_lines(rows, t.next_rows, row_step);
    rows += row_step;
    const int end = std::min(t.rows, touched + touched_a_step);
    fetch_rows<2>(t.residual, touched, end);
    own_rows(t.y, touched, end);
    touched = end;
  };
  for (int64_t step = 1; step < steps; ++step) {
    a += kRow;
    b += kPanelStep;
    tile_dot<kDot, 0, 4, 6>();
    if constexpr (kBroad) tile_dot<kDot, 1, 4, 7>();
    tile_load<4>(a, stride);
    if constexpr (kTall) tile_dot<kDot, 2, 5, 6>();
    tile_load<6>(b, kRow);
    if constexpr (kTall && kBroad) tile_dot<kDot, 3, 5, 7>();
    if constexpr (kTall) tile_load<5>(a + lower, stride);
    if constexpr (kBroad) tile_load<7>(b + right, kRow);
    fetch();
  }
  fetch();
  tile_dot<kDot, 0, 4, 6>();
  if constexpr (kBroad) tile_dot<kDot, 1, 4, 7>();
  if constexpr (kTall) tile_dot<kDot, 2, 5, 6>();
  if constexpr (kTall && kBroad) tile_dot<kDot, 3, 5, 7>();
}

template <Dot kDot, bool kTall, bool kBroad>
void amx_tile(const DotTile& t) {
  asm volatile("tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n tilezero %%tmm3" ::);
  if (const int64_t steps = t.groups / kGroupStep; steps > 0) add_steps<kDot, kTall, kBroad>(t, steps);
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
constexpr DotCode int8_quads_code(Isa isa) { return lacks_vnni(isa) ? dot_code<Dot::kQuads>() : int8_code(isa); }
constexpr DotCode bf16_code(Isa isa) {
  if (isa == Isa::kAmx) return amx_code<Dot::kBf16>();
  return isa == Isa::kAvx512Bf16 ? dot_code<Dot::kBf16>() : DotCode{};
}

#else

constexpr DotCode int8_code(Isa isa) {
  return isa == Isa::kAvxVnni ? dot_code<Dot::kBytes>() : dot_code<Dot::kWords>();
}
constexpr DotCode int8_quads_code(Isa isa) { return lacks_vnni(isa) ? dot_code<Dot::kQuads>() : int8_code(isa); }
constexpr DotCode bf16_code(Isa) { return {}; }

#endif  // HWY_CAP_GE512
#endif  // HWY_TARGET != HWY_SCALAR

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
