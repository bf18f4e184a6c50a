// How 8-bit products round their factors. The plain loops of linear and conv and the kernels share it, so that both sum the
// same integers and differ in the last, floating-point steps at most.
//
//   x[i, k] ~ step_i (q[i, k] - zero_i)    a row of x, q in 0 … 255, made at run time; 0 is exact; step and zero are the row's
//                                          own, or, in models that were quantised statically, given for all rows
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

// What the attributes x_step and x_zero give; the step 0: nothing.
inline RowScale given_scale(double step, int64_t zero) {
  if (step == 0) return {};
  const auto narrow = static_cast<float>(step);
  return {narrow, 1.0f / narrow, static_cast<int32_t>(zero)};
}
// Whether they can be such.
inline bool is_given_scale(double step, int64_t zero) {
  return step == 0 ? zero == 0 : step >= FLT_MIN && step <= FLT_MAX / 256 && zero >= 0 && zero <= 255;
}

// q of x; the least one of NaN.
inline int32_t quantize(float x, const RowScale& row) {
  const auto least = static_cast<float>(-row.zero), most = static_cast<float>(255 - row.zero);
  const float scaled = x * row.inverse;
  return static_cast<int32_t>(std::nearbyint(scaled > least ? std::min(scaled, most) : least)) + row.zero;
}

// Whether an attribute `factors` asks for integers.
inline bool are_integers(std::string_view factors) { return factors == "int8" || factors == "int8_quads"; }

// Writes r of the k elements w of a column and returns its step; NaN or infinity among them make the step so. A column of
// multiples of one number, 127 times it at most, was rounded before, and keeps its r (not in quads).
float quantize_column(const float* w, int64_t k, bool quads, int8_t* r);
// Whether every w is a multiple of one number, 255 times it at most: weights that were rounded to 8 bits before.
bool has_8_bits(const float* w, int64_t k);

}  // namespace tenon::ops
