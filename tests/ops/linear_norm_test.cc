#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

constexpr double kEpsilon = 0.125;

Tensor identity(int64_t n) {
  return filled(DType::kF64, {n, n}, [&](int64_t i) { return i / n == i % n ? 1 : 0; });
}

// Moments of x's rows, from the op itself.
Tensor moments_of(const Tensor& x) {
  const auto both = run_op(Op::k_linear_norm, {x, identity(x.shape().back())}, {{"moments", int64_t{1}}});
  EXPECT_TRUE(both.ok() && (*both)[0].same_bytes(x));
  return (*both)[1];
}

TEST(LinearNorm, GivesMeanAndSquaresOfEachPanel) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF64, {3, 128}), m = moments_of(x);
  ASSERT_EQ(m.shape(), (std::vector<int64_t>{3, 2, 2}));
  for (int64_t panel = 0; panel < 6; ++panel) {
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < 64; ++i) mean += x.at(panel * 64 + i) / 64;
    for (int64_t i = 0; i < 64; ++i) squares += std::pow(x.at(panel * 64 + i) - mean, 2);
    EXPECT_NEAR(m.at(2 * panel), mean, 1e-6);
    EXPECT_NEAR(m.at(2 * panel + 1), squares, 1e-5 * squares);
  }
}

TEST(LinearNorm, OfCentredWeightsIsALinearOfNormalisedRows) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF64, {5, 192}, 1, 3), raw = random.tensor(DType::kF64, {192, 24});
  const Tensor w = filled(DType::kF64, raw.shape(), [&](int64_t i) {
    double mean = 0;
    for (int64_t k = 0; k < 192; ++k) mean += raw.at(k * 24 + i % 24) / 192;
    return raw.at(i) - mean;
  });
  const Tensor bias = random.tensor(DType::kF32, {24}),
               wide = filled(DType::kF64, {24}, [&](int64_t i) { return bias.at(i); });
  const Tensor y = output_of(run_op(Op::k_linear_norm, {x, w, bias, {}, moments_of(x)},
                                    {{"activation", std::string("relu")}, {"epsilon", kEpsilon}}));
  const Tensor n = output_of(run_op(Op::k_layer_norm, {x}, {{"epsilon", kEpsilon}}));
  const Tensor expected = output_of(run_op(Op::k_linear, {n, raw, wide}, {{"activation", std::string("relu")}}));
  EXPECT_TRUE(close(y, expected, tolerance(DType::kF32) * 16));
}

TEST(LinearNorm, AddsTheNormalisedResidual) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF64, {5, 16}), w = random.tensor(DType::kF64, {16, 128}),
               r = random.tensor(DType::kF64, {5, 128}, -9, 20);
  const Tensor gamma = random.tensor(DType::kF32, {128}),
               wide = filled(DType::kF64, {128}, [&](int64_t i) { return gamma.at(i); });
  const Tensor y =
      output_of(run_op(Op::k_linear_norm, {x, w, {}, r, {}, moments_of(r), gamma}, {{"epsilon", kEpsilon}}));
  const Tensor n = output_of(run_op(Op::k_layer_norm, {r, wide}, {{"epsilon", kEpsilon}}));
  EXPECT_TRUE(close(y, output_of(run_op(Op::k_linear, {x, w, {}, n})), tolerance(DType::kF32) * 16));
}

TEST(LinearNorm, RefusesWhatDoesNotFit) {
  const std::string x = "%x: f32[tokens,64], %w: f32[64,128]";
  EXPECT_EQ(inferred(x, "linear_norm(%x, %w)"), "f32[tokens,128]");
  EXPECT_THAT(inferred(x + ", %m: f32[tokens,2,2]", "linear_norm(%x, %w, _, _, %m)"),
              testing::HasSubstr("input 4, axis 1"));
  EXPECT_THAT(inferred(x + ", %g: f32[128]", "linear_norm(%x, %w, _, _, _, _, %g)"),
              testing::HasSubstr("residual_moments and gamma go together"));
  EXPECT_THAT(inferred("%x: f32[tokens,64], %w: f32[64,100]", "linear_norm(%x, %w) {moments = 1}"),
              testing::HasSubstr("100 elements are not whole panels"));
}

}  // namespace
}  // namespace tenon::test
