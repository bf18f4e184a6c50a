// The scales of rows and columns that plain loops round to 8 bits.
#pragma once

#include "ops/quantize.h"

namespace tenon::ops {

// The largest absolute value of column j of w [k, n]; NaN where it holds one.
inline float largest_of_column(const float* w, int64_t k, int64_t n, int64_t j) {
  float largest = 0;
  for (int64_t i = 0; i < k; ++i) {
    const float v = std::abs(w[i * n + j]);
    if (!(v <= largest)) largest = v;
    if (std::isnan(largest)) break;
  }
  return largest;
}

// Smallest and largest element of a row, and 0; NaN where it holds one.
inline RowScale scale_of_row(const float* x, int64_t k) {
  float low = 0, high = 0;
  for (int64_t i = 0; i < k; ++i) {
    if (std::isnan(x[i])) return row_scale(x[i], x[i]);
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  return row_scale(low, high);
}

}  // namespace tenon::ops
