// How dynamic 8-bit products round their factors. The plain loop of linear and the kernels share it, so that both sum
// the same integers and differ in the last, floating-point steps at most.
//
//   x[i, k] ~ step_i (q[i, k] - zero_i)    a row of x, q in 0 … 255, made at run time; 0 is exact
//   w[k, j] ~ step_j  r[k, j]              a column of W, r in -127 … 127, made when the engine is built
//   y[i, j] = step_i step_j sum_k (q[i, k] - zero_i) r[k, j], summed in 32-bit integers
//
// With factors of "int8_quads" step_j is such that positive r of a quad, the four k = 8 m + 2 h + {0, 1, 4, 5} with h
// of 0 or 1, add up to 128 at most, and negative ones to -128: processors without VNNI multiply fastest where they may
// sum four products in 16 bits, and 255 * 128 = 32640 fits. MiniLM's weights err 1.5 times as much as in int8.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <string_view>

namespace tenon::ops {

// Longer sums of 255 * 127 could leave 32 bits.
inline constexpr int64_t kMaxInt8Depth = 65536;

struct RowScale {
  float step = 0;
  float inverse = 0;  // of the step
  int32_t zero = 0;   // q of 0.0
};

// For a row whose elements lie in [low, high], low <= 0 <= high. Rows that hold NaN or infinity get the step NaN, so
// that their outputs are NaN; rows closer to 0 than about 1e-30 are 0.
inline RowScale row_scale(float low, float high) {
  constexpr float kLeast = 1e-30f;
  const float range = high - low;
  if (!(range <= FLT_MAX)) return {NAN, 0, 0};
  if (range < kLeast) return {};
  const float inverse = 255.0f / range;
  return {range / 255.0f, inverse, static_cast<int32_t>(std::nearbyint(-low * inverse))};
}

// q of x.
inline int32_t quantize(float x, const RowScale& row) {
  const float scaled = x * row.inverse;
  if (!(std::abs(scaled) < 1e6f)) return 0;  // the row's step is NaN
  return std::clamp(static_cast<int32_t>(std::nearbyint(scaled)) + row.zero, 0, 255);
}

// Whether an attribute `factors` asks for integers.
inline bool are_integers(std::string_view factors) { return factors == "int8" || factors == "int8_quads"; }

// Writes r of the k elements w of a column and returns its step; NaN or infinity among them make the step so. A column of
// multiples of one number, 127 times it at most, was rounded before, and keeps its r (not in quads).
float quantize_column(const float* w, int64_t k, bool quads, int8_t* r);

}  // namespace tenon::ops
