// Moments of rows, for LayerNorms that are folded into products (the op linear_norm): of each panel of 64 columns the
// mean and the sum of squared differences from it. Parts are joined by their means' distance, so that neither a large
// mean nor an outlier costs digits.
#pragma once

#include "base.cuh"

constexpr int kMomentsPanel = 64;  // columns

struct alignas(8) Moments {
  float mean, squares;
};

template <int kCount>
TENON_DEVICE Moments moments_of(const float (&v)[kCount]) {
  Moments m = {};
#pragma unroll
  for (int i = 0; i < kCount; ++i) m.mean += v[i];
  m.mean *= 1.f / kCount;
#pragma unroll
  for (int i = 0; i < kCount; ++i) m.squares += (v[i] - m.mean) * (v[i] - m.mean);
  return m;
}

// Of the numbers of both, `count` each.
TENON_DEVICE Moments join(Moments a, Moments b, float count) {
  const float apart = b.mean - a.mean;
  return {0.5f * (a.mean + b.mean), a.squares + b.squares + apart * apart * (0.5f * count)};
}

// Those of the lane whose number differs by the bit `step`.
TENON_DEVICE Moments exchange(Moments m, int step) {
  return {__shfl_xor_sync(0xffffffffu, m.mean, step), __shfl_xor_sync(0xffffffffu, m.squares, step)};
}

// Every lane gets those of all numbers in kLanes neighbouring lanes, which have those of `count` each.
template <int kLanes>
TENON_DEVICE Moments join_lanes(Moments m, float count) {
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2, count *= 2) m = join(m, exchange(m, step), count);
  return m;
}

// A row is normalised by (x - mean) * scale.
struct alignas(8) Norm {
  float mean, scale;
};

// Of a row of kPanels panels.
template <int kPanels>
TENON_DEVICE Norm row_norm(const Moments* row, float epsilon) {
  Moments panels[kPanels];
#pragma unroll
  for (int p = 0; p < kPanels; ++p) panels[p] = row[p];
  // Means are taken relative to the first, which is among them.
  float squares = panels[0].squares, apart = 0, apart_squares = 0;
#pragma unroll
  for (int p = 1; p < kPanels; ++p) {
    const float d = panels[p].mean - panels[0].mean;
    squares += panels[p].squares;
    apart += d;
    apart_squares += d * d;
  }
  const float mean = apart * (1.f / kPanels);
  squares += kMomentsPanel * (apart_squares - apart * mean);
  return {panels[0].mean + mean, rsqrtf(squares * (1.f / (kMomentsPanel * kPanels)) + epsilon)};
}
