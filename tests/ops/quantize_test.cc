// How columns of weights are rounded to 8 bits.
#include "ops/quantize.h"

#include <gtest/gtest.h>

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
    for (const int8_t v : given) w.push_back(static_cast<float>(v) * step);
    EXPECT_NEAR(ops::quantize_column(w.data(), 129, false, r.data()), step, 1e-5 * step);
    EXPECT_EQ(r, given) << most;
    w[5] += 0.3F * step;
    EXPECT_NEAR(ops::quantize_column(w.data(), 129, false, r.data()), static_cast<float>(most) / 127 * step, 1e-5 * step);
  }
}

}  // namespace
}  // namespace tenon::test
