// The scales of rows that plain loops round to 8 bits, and the attributes that give them.
#pragma once

#include "ops/quantize.h"
#include "ops/support.h"

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

inline AttrDef x_step_attr() {
  return {"x_step", 0.0, false, "of factors in 8 bits: x is rounded to x_step (q - x_zero), q in 0 … 255, in all rows; 0: each row by its own range"};
}
inline AttrDef x_zero_attr() { return {"x_zero", int64_t{0}, false, "q of 0"}; }
inline RowScale given_scale(const Attrs& attrs) { return given_scale(attrs.number("x_step"), attrs.integer("x_zero")); }
// Errors: bad-model.
inline Status check_given_scale(const InferContext& c, bool integers) {
  const double step = c.attrs.number("x_step");
  const int64_t zero = c.attrs.integer("x_zero");
  if (!is_given_scale(step, zero) || (step != 0 && !integers))
    return error(ErrorCode::kBadModel, "steps of {} from {} for factors '{}'", step, zero, c.attrs.text("factors"));
  return {};
}

}  // namespace tenon::ops
