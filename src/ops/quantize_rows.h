// The scales of rows that plain loops round to 8 bits.
#pragma once

#include "ops/quantize.h"

namespace tenon::ops {

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
