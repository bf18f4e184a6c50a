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

// Every lane gets those of all numbers in kLanes neighbouring lanes, which have those of `count` each.
template <int kLanes>
TENON_DEVICE Moments join_lanes(Moments m, float count) {
#pragma unroll
  for (int step = 1; step < kLanes; step *= 2, count *= 2) {
    const float mean = __shfl_xor_sync(0xffffffffu, m.mean, step);
    const float squares = __shfl_xor_sync(0xffffffffu, m.squares, step), apart = mean - m.mean;
    m = {0.5f * (m.mean + mean), m.squares + squares + apart * apart * (0.5f * count)};
  }
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
  Moments all = {};
#pragma unroll
  for (int p = 0; p < kPanels; ++p) {
    const float apart = panels[p].mean - all.mean;
    all.mean += apart * (1.f / (p + 1));
    all.squares += panels[p].squares + apart * apart * (kMomentsPanel * p / (p + 1.f));
  }
  return {all.mean, rsqrtf(all.squares * (1.f / (kMomentsPanel * kPanels)) + epsilon)};
}
