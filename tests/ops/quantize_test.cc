// How columns of weights are rounded to 8 bits.
#include "ops/quantize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "tests/support/random.h"

namespace tenon::test {
namespace {

// Weights that were rounded to 8 bits before, in whatever step, keep their numbers: rounding twice adds nothing.
TEST(QuantizeColumn, KeepsNumbersThatWereRoundedBefore) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int most : {3, 63, 126, 127}) {
    const auto step = static_cast<float>(random.real(1e-4, 10));
    std::vector<int8_t> given(129), r(129);
    std::vector<float> w;
    for (int8_t& v : given) v = static_cast<int8_t>(random.integer(-most, most));
    given[0] = 1;  // else a larger step would do
    given[7] = static_cast<int8_t>(most);
    given[5] = 0;  // not the largest
    for (const int8_t v : given) w.push_back(static_cast<float>(v) * step);
    EXPECT_NEAR(ops::quantize_column(w.data(), 129, false, r.data()), step, 1e-5 * step);
    EXPECT_EQ(r, given) << most;
    w[5] += 0.2871F * step;  // of no part of the step that 127 times would reach
    EXPECT_NEAR(ops::quantize_column(w.data(), 129, false, r.data()), static_cast<float>(most) / 127 * step, 1e-5 * step);
  }
}

// Also where none of them is one step: columns of few weights.
TEST(QuantizeColumn, FindsTheStepThatTheLeastIsSeveralOf) {
  const std::vector<int8_t> given{-6, 9, 127, 0, 4};
  std::vector<float> w;
  for (const int8_t v : given) w.push_back(static_cast<float>(v) * 0.0137F);
  std::vector<int8_t> r(5);
  EXPECT_NEAR(ops::quantize_column(w.data(), 5, false, r.data()), 0.0137F, 1e-6);
  EXPECT_EQ(r, given);
}

TEST(Has8Bits, KnowsWeightsThatWereRoundedBefore) {
  Random random;
  SCOPED_TRACE(random.trace());
  std::vector<float> w(129);
  EXPECT_TRUE(ops::has_8_bits(w.data(), 129)) << "zeros";
  for (float& v : w) v = static_cast<float>(random.integer(-255, 255)) * 0.003F;
  EXPECT_TRUE(ops::has_8_bits(w.data(), 129)) << "a zero point moves them up to 255 steps";
  for (float& v : w) v = static_cast<float>(random.real(-1, 1));
  EXPECT_FALSE(ops::has_8_bits(w.data(), 129));
  for (const float bad : {NAN, INFINITY}) {
    std::vector<float> spoilt(20, 1.0F);
    spoilt[7] = bad;
    EXPECT_FALSE(ops::has_8_bits(spoilt.data(), 20));
  }
}

// By given steps whatever lies beyond goes to the nearest end.
TEST(Quantize, SaturatesAtBothEnds) {
  const ops::RowScale scale = ops::given_scale(0.5, 10);
  for (const auto& [x, q] : {std::pair{0.0F, 10}, {0.6F, 11}, {-5.0F, 0}, {-5.1F, 0}, {-1e30F, 0}, {-INFINITY, 0}, {122.5F, 255}, {122.9F, 255}, {1e9F, 255}, {INFINITY, 255}, {NAN, 0}})
    EXPECT_EQ(ops::quantize(x, scale), q) << x;
  EXPECT_EQ(ops::given_scale(0, 0).step, 0);
  EXPECT_TRUE(ops::is_given_scale(0, 0));
  for (const auto& [step, zero] : {std::pair<double, int64_t>{-1, 0}, {1, 256}, {1, -1}, {0, 3}, {NAN, 0}, {INFINITY, 0}, {1e-60, 0}}) EXPECT_FALSE(ops::is_given_scale(step, zero)) << step;
}

}  // namespace
}  // namespace tenon::test
