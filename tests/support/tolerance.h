// How closely computed tensors must agree: one table per element type, and a comparison that says where they differ.
//
//   EXPECT_TRUE(close(actual, expected));                       // the table's tolerance
//   EXPECT_TRUE(close(actual, expected, tolerance(f32) * 8));   // after a long chain of ops
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "base/dtype.h"
#include "ir/dim.h"
#include "ir/tensor.h"

namespace tenon::test {

// |actual - expected| <= absolute + relative * |expected|.
struct Tolerance {
  double relative = 0;
  double absolute = 0;
  Tolerance operator*(double factor) const { return {relative * factor, absolute * factor}; }
};

// For one op whose accumulation is in f32 or wider and whose values are of the order of 1. Integers and bool must be equal.
constexpr Tolerance tolerance(DType dtype) {
  switch (dtype) {
    case DType::kF64: return {1e-12, 1e-13};
    case DType::kF32: return {2e-6, 2e-6};
    case DType::kF16: return {1e-3, 1e-3};    // one rounding to 11 bits: 2^-11
    case DType::kBF16: return {8e-3, 8e-3};   // one rounding to 8 bits: 2^-8
    default: return {0, 0};
  }
}

// NaN agrees with NaN, an infinity with itself. On failure: dtype, shape, how many differ, the worst index and both values.
inline testing::AssertionResult close(const ir::Tensor& actual, const ir::Tensor& expected, Tolerance allowed) {
  const auto text = [](const ir::Tensor& t) {
    return std::string(dtype_name(t.dtype())) + ir::to_string(ir::to_shape(t.shape()));
  };
  if (actual.dtype() != expected.dtype() || actual.shape() != expected.shape()) {
    return testing::AssertionFailure() << "actual is " << text(actual) << ", expected " << text(expected);
  }
  if (!actual.has_data() || !expected.has_data()) return testing::AssertionFailure() << text(actual) << " without data";
  int64_t worst = -1, count = 0;
  double worst_excess = 0;
  for (int64_t i = 0; i < actual.numel(); ++i) {
    const double a = actual.at(i), e = expected.at(i);
    const bool integers = !is_float(actual.dtype());
    if (integers ? actual.int_at(i) == expected.int_at(i) : (a == e || (std::isnan(a) && std::isnan(e)))) continue;
    const double limit = allowed.absolute + allowed.relative * std::abs(e);
    const bool comparable = std::isfinite(a) && std::isfinite(e);
    if (comparable && std::abs(a - e) <= limit && !integers) continue;
    const double excess = comparable ? std::abs(a - e) / (limit > 0 ? limit : 1e-300) : INFINITY;
    if (++count == 1 || excess > worst_excess) {
      worst = i;
      worst_excess = excess;
    }
  }
  if (count == 0) return testing::AssertionSuccess();
  std::string index;
  int64_t rest = worst;
  for (size_t axis = actual.shape().size(); axis-- > 0;) {
    index = std::to_string(rest % actual.shape()[axis]) + (index.empty() ? "" : ",") + index;
    rest /= actual.shape()[axis];
  }
  return testing::AssertionFailure() << count << " of " << actual.numel() << " elements of " << text(actual) << " differ; worst at ["
                                     << index << "]: actual " << actual.at(worst) << ", expected " << expected.at(worst)
                                     << ", which is " << worst_excess << " times the tolerance (relative " << allowed.relative
                                     << ", absolute " << allowed.absolute << ")";
}

inline testing::AssertionResult close(const ir::Tensor& actual, const ir::Tensor& expected) {
  return close(actual, expected, tolerance(actual.dtype()));
}

}  // namespace tenon::test
