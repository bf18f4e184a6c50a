// The product at the heart of linear, matmul and attention: one register tile, and what feeds it.
#pragma once

#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

// Accumulators fill the registers: 8 x 48 of 32 vectors of 16, 6 x 16 of 16 vectors of 8.
#if HWY_TARGET == HWY_SCALAR
constexpr int kTileRows = 4, kTilePanels = 1;
#elif HWY_CAP_GE512
constexpr int kTileRows = 8, kTilePanels = 3;
#else
constexpr int kTileRows = 6, kTilePanels = 1;
#endif

// sum += x * b, where it is written: left to itself the compiler moves sums between registers, and to memory.
HWY_INLINE void add_product(V& sum, V x, V b) {
#if HWY_TARGET == HWY_SCALAR
  sum = hn::MulAdd(x, b, sum);
#else
  asm volatile("vfmadd231ps %2, %1, %0" : "+v"(sum.raw) : "v"(x.raw), "v"(b.raw));
#endif
}

// sum += a[r] * b, for one k.
template <int kRows, int kVectors>
HWY_INLINE void gemm_step(const float* a, const float* b, int64_t panel_stride, V (&sum)[kRows][kVectors]) {
  constexpr int kPerPanel = static_cast<int>(kPanel / kLanes);
  V column[kVectors];
  HWY_UNROLL(32)
  for (int v = 0; v < kVectors; ++v) column[v] = load(b + v / kPerPanel * panel_stride + v % kPerPanel * kLanes);
  prefetch_columns<kVectors>(reinterpret_cast<const char*>(b), panel_stride * 4);
  HWY_UNROLL(32)
  for (int r = 0; r < kRows; ++r) {
    const V x = set(a[r]);
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) add_product(sum[r][v], x, column[v]);
  }
}

// Four steps a turn: where a neighbour uses the other half of the core, three instructions begin a cycle, and two of
// them should be products.
template <bool kMany, int kRows, int kVectors>
HWY_INLINE void gemm_steps(const GemmTile& t, Fetch& fetch, V (&sum)[kRows][kVectors]) {
  constexpr int kUnrolled = 4;
  const float *a = t.a, *b = t.b;
  const int64_t a_stride = t.a_stride, panel_stride = t.b_panel_stride;
  int64_t k = t.k;
  for (; k >= kUnrolled; k -= kUnrolled) {
    HWY_UNROLL(8)
    for (int i = 0; i < kUnrolled; ++i) {
      gemm_step(a, b + i * kPanel, panel_stride, sum);
      if constexpr (kMany) fetch.step_of_many();
      if constexpr (!kMany) {
        if (i % 2 != 0) fetch.two_steps();
      }
      a += a_stride;
      asm("" : "+r"(a));  // or the compiler finds a pointer for each element
    }
    b += kUnrolled * kPanel;
    asm("" : "+r"(b));
  }
  for (; k > 0; --k, a += a_stride, b += kPanel) gemm_step(a, b, panel_stride, sum);
}

template <int kRows, int kPanels>
void gemm_tile(const GemmTile& t) {
  constexpr int kPerPanel = static_cast<int>(kPanel / kLanes);
  constexpr int kVectors = kPanels * kPerPanel;
  float* const c = t.c;
  const int64_t c_stride = t.c_stride;
  V sum[kRows][kVectors];
  HWY_UNROLL(32)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  if (t.accumulate) {
    HWY_UNROLL(32)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(32)
      for (int v = 0; v < kVectors; ++v) sum[r][v] = load(c + r * c_stride + v * kLanes);
    }
  }
  Fetch fetch(t.prefetch, t.k, &t);
  constexpr bool kWhole = kRows == kTileRows && kPanels == kTilePanels;  // the one that counts
  if (kWhole && !fetch.many())
    gemm_steps<!kWhole>(t, fetch, sum);
  else
    gemm_steps<true>(t, fetch, sum);
  HWY_UNROLL(32)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) store(sum[r][v], c + r * c_stride + v * kLanes);
  }
}

void gemm(const GemmTile& t) {
  with_rows<kTileRows>(t.rows, [&]<int kRows>() {
#if HWY_CAP_GE512
    if (t.panels == 3) return gemm_tile<kRows, 3>(t);
    if (t.panels == 2) return gemm_tile<kRows, 2>(t);
#endif
    gemm_tile<kRows, 1>(t);
  });
}

// `kRounded`: the result is rounded to 16 bits.
template <Activation kActivation, bool kRounded>
HWY_INLINE V activate(V x) {
  switch (kActivation) {
    case Activation::kNone:
      return x;
    case Activation::kRelu:
      return relu(x);
    case Activation::kGelu:
      return kRounded ? gelu_rounded(x) : gelu(x);
    case Activation::kGeluTanh:
      return gelu_tanh(x);
    case Activation::kGeluSigmoid:
      return gelu_sigmoid(x);
    case Activation::kTanh:
      return tanh(x);
    case Activation::kSigmoid:
      return sigmoid(x);
    case Activation::kSilu:
      return silu(x);
    case Activation::kRelu6:
      return clamp(x, 0.0f, 6.0f);
    case Activation::kHardSigmoid:
      return hard_sigmoid(x);
    case Activation::kHardSwish:
      return hn::Mul(x, hard_sigmoid(x));
  }
  return x;
}

// The elements [column, column + n) of a tile of sums as f32; n is kLanes but at the right edge.
struct PlainSums {
  const float* sums;
  int64_t stride;
  PlainSums(const void* c, int64_t c_stride, const Dequantize&, int64_t column, int64_t)
      : sums(static_cast<const float*>(c) + column), stride(c_stride) {}
  HWY_INLINE V at(int r) const { return load(sums + r * stride); }
  HWY_INLINE V at(int r, int64_t n) const { return load(sums + r * stride, n); }
};

struct Int8Sums {
  const int32_t* sums;
  int64_t stride;
  const ops::RowScale* rows;
  V column_step;
  hn::Vec<DI> column_sum;
  Int8Sums(const void* c, int64_t c_stride, const Dequantize& q, int64_t column, int64_t n)
      : sums(static_cast<const int32_t*>(c) + column), stride(c_stride), rows(q.rows) {
    column_step = n < kLanes ? load(q.column_steps + column, n) : load(q.column_steps + column);
    column_sum = n < kLanes ? hn::MaskedLoad(hn::FirstN(DI(), static_cast<size_t>(n)), DI(), q.column_sums + column)
                            : hn::LoadU(DI(), q.column_sums + column);
  }
  HWY_INLINE V value(int r, hn::Vec<DI> sum) const {
    const auto exact = hn::Sub(sum, hn::Mul(column_sum, hn::Set(DI(), rows[r].zero)));
    return hn::Mul(hn::ConvertTo(d, exact), hn::Mul(column_step, set(rows[r].step)));
  }
  HWY_INLINE V at(int r) const { return value(r, hn::LoadU(DI(), sums + r * stride)); }
  HWY_INLINE V at(int r, int64_t n) const {
    return value(r, hn::MaskedLoad(hn::FirstN(DI(), static_cast<size_t>(n)), DI(), sums + r * stride));
  }
};

// Columns [j, j + n).
template <Activation kActivation, class Sums, class Held>
HWY_INLINE void epilogue_column(const void* sums, int64_t stride, typename Held::T* y, int64_t y_stride, int rows,
                                int64_t j, int64_t n, const Epilogue& e) {
  using T = typename Held::T;
  const Sums column(sums, stride, e.dequantize, j, n);
  const V bias = e.bias == nullptr ? hn::Zero(d) : Held::read(static_cast<const T*>(e.bias) + j, n);
  const auto* residual = static_cast<const T*>(e.residual);
  const bool first = residual != nullptr && e.activate_sum, last = residual != nullptr && !e.activate_sum;
  for (int r = 0; r < rows; ++r) {
    V x = hn::Add(n < kLanes ? column.at(r, n) : column.at(r), bias);
    const auto add_residual = [&] { x = hn::Add(x, Held::read(residual + r * e.residual_stride + j, n)); };
    if (first) add_residual();
    x = activate<kActivation, sizeof(T) == 2>(x);
    if (last) add_residual();
    Held::write(x, y + r * y_stride + j, n);
  }
}

template <Activation kActivation, class Sums, class Held>
void epilogue_rows(const void* sums, int64_t stride, void* y, int64_t y_stride, int rows, int64_t columns,
                   const Epilogue& e) {
  auto* out = static_cast<typename Held::T*>(y);
  int64_t j = 0;
  for (; j + kLanes <= columns; j += kLanes)
    epilogue_column<kActivation, Sums, Held>(sums, stride, out, y_stride, rows, j, kLanes, e);
  if (j < columns) epilogue_column<kActivation, Sums, Held>(sums, stride, out, y_stride, rows, j, columns - j, e);
}

template <class Sums, class Held>
void epilogue_of(const void* sums, int64_t stride, void* y, int64_t y_stride, int rows, int64_t columns,
                 const Epilogue& e) {
  const auto apply = [&]<Activation kActivation>() {
    epilogue_rows<kActivation, Sums, Held>(sums, stride, y, y_stride, rows, columns, e);
  };
  switch (e.activation) {
    case Activation::kNone:
      return apply.template operator()<Activation::kNone>();
    case Activation::kRelu:
      return apply.template operator()<Activation::kRelu>();
    case Activation::kGelu:
      return apply.template operator()<Activation::kGelu>();
    case Activation::kGeluTanh:
      return apply.template operator()<Activation::kGeluTanh>();
    case Activation::kGeluSigmoid:
      return apply.template operator()<Activation::kGeluSigmoid>();
    case Activation::kTanh:
      return apply.template operator()<Activation::kTanh>();
    case Activation::kSigmoid:
      return apply.template operator()<Activation::kSigmoid>();
    case Activation::kSilu:
      return apply.template operator()<Activation::kSilu>();
    case Activation::kRelu6:
      return apply.template operator()<Activation::kRelu6>();
    case Activation::kHardSigmoid:
      return apply.template operator()<Activation::kHardSigmoid>();
    case Activation::kHardSwish:
      return apply.template operator()<Activation::kHardSwish>();
  }
}

template <bool kNative>
void epilogue(const void* sums, int64_t sums_stride, void* y, int64_t y_stride, int rows, int64_t columns,
              const Epilogue& e) {
  const bool int8 = e.dequantize.rows != nullptr;
  (e.bf16 ? int8 ? epilogue_of<Int8Sums, Bf16s<kNative>> : epilogue_of<PlainSums, Bf16s<kNative>>
   : int8 ? epilogue_of<Int8Sums, Floats>
          : epilogue_of<PlainSums, Floats>)(sums, sums_stride, y, y_stride, rows, columns, e);
}

#if HWY_TARGET != HWY_SCALAR
// Columns [i, i + 4) of eight rows, transposed. Rows 0 to 3 stand in the lower half of each vector, rows 4 to 7 in the
// upper one, so that all shuffles stay within halves.
HWY_INLINE void transpose_8x4(const float* const (&row)[8], int64_t i, int64_t width, float* out) {
  const hn::FixedTag<float, 4> d4;
  const hn::FixedTag<float, 8> d8;
  const hn::FixedTag<double, 4> pairs;
  const auto r0 = hn::Combine(d8, hn::LoadU(d4, row[4] + i), hn::LoadU(d4, row[0] + i));
  const auto r1 = hn::Combine(d8, hn::LoadU(d4, row[5] + i), hn::LoadU(d4, row[1] + i));
  const auto r2 = hn::Combine(d8, hn::LoadU(d4, row[6] + i), hn::LoadU(d4, row[2] + i));
  const auto r3 = hn::Combine(d8, hn::LoadU(d4, row[7] + i), hn::LoadU(d4, row[3] + i));
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d8, r0, r1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d8, r2, r3));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d8, r0, r1));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d8, r2, r3));
  hn::StoreU(hn::BitCast(d8, hn::InterleaveLower(pairs, low01, low23)), d8, out);
  hn::StoreU(hn::BitCast(d8, hn::InterleaveUpper(pairs, low01, low23)), d8, out + width);
  hn::StoreU(hn::BitCast(d8, hn::InterleaveLower(pairs, high01, high23)), d8, out + 2 * width);
  hn::StoreU(hn::BitCast(d8, hn::InterleaveUpper(pairs, high01, high23)), d8, out + 3 * width);
}
#endif

void transpose_rows(const float* x, int64_t stride, int rows, int64_t k, int width, float* out) {
  for (int first = 0; first < width; first += 8) {
    const float* row[8];
    for (int r = 0; r < 8; ++r) row[r] = x + (first + r < rows ? first + r : rows - 1) * stride;
    int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
    for (; i + 4 <= k; i += 4) transpose_8x4(row, i, width, out + i * width + first);
#endif
    for (; i < k; ++i)
      for (int r = 0; r < 8; ++r) out[i * width + first + r] = row[r][i];
  }
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
