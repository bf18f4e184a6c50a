// How dynamic 8-bit products round their factors. The plain loop of linear and the kernels share it, so that both sum
// the same integers and differ in the last, floating-point steps at most.
//
//   x[i, k] ~ step_i (q[i, k] - zero_i)    a row of x, q in 0 … 255, made at run time; 0 is exact
//   w[k, j] ~ step_j  r[k, j]              a column of W, r in -127 … 127 or, of 7 bits, -64 … 64, made when the engine
//                                          is built
//   y[i, j] = step_i step_j sum_k (q[i, k] - zero_i) r[k, j], summed in 32-bit integers
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

// Bits of the weights that an attribute `factors` asks for: 8 of "int8", 7 of "int7", else 0.
inline int weight_bits(std::string_view factors) { return factors == "int8" ? 8 : factors == "int7" ? 7 : 0; }

// The largest r of so many bits. That of 7 is all that processors without VNNI add up two products of in 16 bits, as they
// do fastest: 2 * 255 * 64 = 32640.
inline constexpr int32_t largest_weight(int bits) { return bits == 7 ? 64 : 127; }

// The step of a column whose largest absolute value is given, and the largest r.
inline float column_step(float largest, int32_t limit) { return largest / static_cast<float>(limit); }

// r of w.
inline int32_t quantize_weight(float w, float largest, int32_t limit) {
  const float scaled = largest >= FLT_MIN && largest <= FLT_MAX ? w * (static_cast<float>(limit) / largest) : 0.0f;
  return std::clamp(static_cast<int32_t>(std::nearbyint(scaled)), -limit, limit);
}

}  // namespace tenon::ops
