// What convolutions and pooling do with rows of channels that stand apart in memory.
#pragma once

#include "kernels/cpu/apply-inl.h"
#include "kernels/cpu/gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tenon::kernels::cpu::HWY_NAMESPACE {
namespace {

// The other shape of tile, for numbers of panels that it divides.
#if HWY_TARGET != HWY_SCALAR && HWY_CAP_GE512
constexpr int kWideRows = 6, kWidePanels = 4;
#else
constexpr int kWideRows = kTileRows, kWidePanels = kTilePanels;
#endif

template <int kRows, int kVectors>
HWY_INLINE void gather_step(const float* const (&a)[kRows], int64_t k, const float* b, int64_t panel_stride,
                            V (&sum)[kRows][kVectors]) {
  constexpr int kPerPanel = static_cast<int>(kPanel / kLanes);
  V column[kVectors];
  HWY_UNROLL(32)
  for (int v = 0; v < kVectors; ++v) column[v] = load(b + v / kPerPanel * panel_stride + v % kPerPanel * kLanes);
  prefetch_columns<kVectors>(reinterpret_cast<const char*>(b), panel_stride * 4);
  HWY_UNROLL(32)
  for (int r = 0; r < kRows; ++r) {
    const V x = set(a[r][k]);
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) add_product(sum[r][v], x, column[v]);
  }
}

template <int kRows, int kVectors>
HWY_INLINE void finish_sums(const Finish& f, V (&sum)[kRows][kVectors]) {
  if (f.bias != nullptr) {
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) {
      const V bias = load(f.bias + v * kLanes);
      HWY_UNROLL(32)
      for (int r = 0; r < kRows; ++r) sum[r][v] = hn::Add(sum[r][v], bias);
    }
  }
  const auto bound = [&] {
    HWY_UNROLL(32)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(32)
      for (int v = 0; v < kVectors; ++v) sum[r][v] = clamp(sum[r][v], f.low, f.high);
    }
  };
  if (!f.clamp_sum) bound();
  if (f.residual != nullptr) {
    HWY_UNROLL(32)
    for (int r = 0; r < kRows; ++r) {
      HWY_UNROLL(32)
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] = hn::Add(sum[r][v], load(f.residual + r * f.residual_stride + v * kLanes));
    }
  }
  if (f.clamp_sum) bound();
}

// A prefetch whose steps are long, and of several lines.
class SlowFetch {
 public:
  SlowFetch(const Prefetch& p, int64_t steps) : p_(p), step_(steps > 0 ? (p.bytes + steps - 1) / steps : 0) {}
  HWY_INLINE void step() {
    const char* at = p_.from;
    for (int panel = 0; panel < p_.panels; ++panel, at += p_.stride)
      for (int64_t i = 0; i < step_; i += 64) __builtin_prefetch(at + i, 0, 2);
    p_.from += step_;
  }

 private:
  Prefetch p_;
  int64_t step_;
};

// The sums of a tile, where `kDense` with so much to fetch that bursts of it would hold up the loads of b.
template <bool kDense, int kRows, int kVectors>
HWY_INLINE void gather_pieces(const GatherTile& t, Fetch fetch, V (&sum)[kRows][kVectors]) {
  constexpr int kUnrolled = 4;
  const float* b = t.b;
  const int64_t steps = t.pieces * ((t.length + kGatherStep - 1) / kGatherStep);
  SlowFetch panels(kDense ? Prefetch{} : t.prefetch, steps), next_rows(t.next_rows, steps);
  const int64_t panel_stride = t.b_panel_stride, end = t.first + t.length;
  const float* const* rows = t.rows;
  for (int64_t p = t.pieces; p > 0; --p, rows += kGatherRows) {
    const float* a[kRows];
    HWY_UNROLL(32)
    for (int r = 0; r < kRows; ++r) a[r] = rows[r] + end;
    for (int64_t k = -t.length; k < 0;) {
      panels.step();
      next_rows.step();
      const int64_t stop = k + kGatherStep < 0 ? k + kGatherStep : 0;
      for (; k + kUnrolled <= stop; k += kUnrolled, b += kUnrolled * kPanel) {
        HWY_UNROLL(8)
        for (int i = 0; i < kUnrolled; ++i) {
          gather_step(a, k + i, b + i * kPanel, panel_stride, sum);
          if (kDense && i % 2 == 1) fetch.two_steps();
        }
      }
      for (; k < stop; ++k, b += kPanel) gather_step(a, k, b, panel_stride, sum);
    }
  }
}

// As gemm_tile, but that A is read where it stands.
template <int kRows, int kPanels>
HWY_NOINLINE void gather_tile(const GatherTile& t) {
  constexpr int kVectors = kPanels * static_cast<int>(kPanel / kLanes);
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
      for (int v = 0; v < kVectors; ++v) sum[r][v] = load(t.c + r * t.c_stride + v * kLanes);
    }
  }
  constexpr bool kWhole =
      (kRows == kTileRows && kPanels == kTilePanels) || (kRows == kWideRows && kPanels == kWidePanels);
  const int64_t depth = t.pieces * t.length;
  const Fetch fetch(t.prefetch, depth, &t);
  if (kWhole && !fetch.many() && t.prefetch.bytes >= 16 * depth)
    gather_pieces<kWhole>(t, fetch, sum);
  else
    gather_pieces<false>(t, fetch, sum);
  if (t.finish) finish_sums(t.finish, sum);
  HWY_UNROLL(32)
  for (int r = 0; r < kRows; ++r) {
    HWY_UNROLL(32)
    for (int v = 0; v < kVectors; ++v) store(sum[r][v], t.c + r * t.c_stride + v * kLanes);
  }
}

void gather(const GatherTile& t) {
  with_rows<kTileRows>(t.rows_used, [&]<int kRows>() {
#if HWY_CAP_GE512
    if constexpr (kRows <= kWideRows) {
      if (t.panels == 4) return gather_tile<kRows, 4>(t);
    }
    if (t.panels == 3) return gather_tile<kRows, 3>(t);
    if (t.panels == 2) return gather_tile<kRows, 2>(t);
#endif
    gather_tile<kRows, 1>(t);
  });
}

// One vector of channels, or the first n < kLanes of it, of kWindowPixels pixels.
template <WindowOp kOp, bool kWhole>
HWY_INLINE void window_channels(const WindowTile& t, int64_t c, int64_t n) {
  const auto read = [&](const float* p) { return kWhole ? load(p + c) : load(p + c, n); };
  V sum[kWindowPixels];
  HWY_UNROLL(8)
  for (int i = 0; i < kWindowPixels; ++i) sum[i] = kOp == WindowOp::kMax ? read(t.rows[i]) : hn::Zero(d);
  const float* const* rows = t.rows;
  for (int64_t tap = 0; tap < t.taps; ++tap, rows += kWindowPixels) {
    const V w = kOp == WindowOp::kFilter ? read(t.filter + tap * t.channels) : hn::Zero(d);
    HWY_UNROLL(8)
    for (int i = 0; i < kWindowPixels; ++i) {
      const V x = read(rows[i]);
      sum[i] = kOp == WindowOp::kMax   ? maximum(sum[i], x)
               : kOp == WindowOp::kSum ? hn::Add(sum[i], x)
                                       : hn::MulAdd(x, w, sum[i]);
    }
  }
  for (int i = 0; i < t.pixels; ++i) {
    const V y = kOp == WindowOp::kSum ? hn::Mul(sum[i], set(t.scale[i])) : sum[i];
    kWhole ? store(y, t.y + i * t.y_stride + c) : store(y, t.y + i * t.y_stride + c, n);
  }
}

template <WindowOp kOp>
void window_tile(const WindowTile& t) {
  int64_t c = 0;
  for (; c + kLanes <= t.channels; c += kLanes) window_channels<kOp, true>(t, c, kLanes);
  if (c < t.channels) window_channels<kOp, false>(t, c, t.channels - c);
}

void window(WindowOp op, const WindowTile& t) {
  switch (op) {
    case WindowOp::kMax:
      return window_tile<WindowOp::kMax>(t);
    case WindowOp::kSum:
      return window_tile<WindowOp::kSum>(t);
    case WindowOp::kFilter:
      return window_tile<WindowOp::kFilter>(t);
  }
}

}  // namespace
}  // namespace tenon::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
