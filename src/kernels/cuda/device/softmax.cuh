// Softmax over scores that arrive in blocks ("online"), for fragments as the tensor cores leave them: a thread holds
// two rows; a row's columns are spread over the four lanes of a quad.
#pragma once

#include "activation.cuh"

TENON_DEVICE float minus_infinity() { return __uint_as_float(0xff800000u); }
constexpr float kLog2E = 1.4426950408889634f;

TENON_DEVICE float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
TENON_DEVICE float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// The running statistics of one row. Scores are in units of log 2 once they are multiplied by `unit`.
struct RunningSoftmax {
  float max = minus_infinity();
  float sum = 0;  // this lane's part

  // Takes in the greatest of the next scores, over all lanes. Returns the factor that what was summed so far shrinks
  // by.
  TENON_DEVICE float rise(float greatest, float unit) {
    const float risen = fmaxf(max, greatest);
    // Nothing seen yet: sums are zero, and any finite factor will do.
    const float factor = max == minus_infinity() ? 0.0f : exp2_approx((max - risen) * unit);
    max = risen;
    sum *= factor;
    return factor;
  }
  // What probabilities are measured against: finite also while no key was visible.
  TENON_DEVICE float reference(float unit) const { return max == minus_infinity() ? 0.0f : max * unit; }
  // 1 / sum over all lanes; 0 without a visible key, so that such rows become zeros.
  TENON_DEVICE float normalizer() const {
    const float total = quad_sum(sum);
    return total == 0.0f ? 0.0f : 1.0f / total;
  }
};
