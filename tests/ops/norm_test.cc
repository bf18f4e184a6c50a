#include <cmath>

#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

// The definition on rows of `size` elements: centred for LayerNorm, not for RMSNorm.
Tensor naive_norm(const Tensor& x, const Given& gamma, const Given& beta, const Given& residual, int64_t size, double epsilon,
                  bool centred) {
  const auto s = [&](int64_t i) { return x.at(i) + (residual ? residual->at(i) : 0.0); };
  return filled(x.dtype(), x.shape(), [&](int64_t i) {
    const int64_t first = i / size * size;
    double mean = 0, square = 0;
    for (int64_t j = first; j < first + size; ++j) mean += s(j) / static_cast<double>(size);
    if (!centred) mean = 0;
    for (int64_t j = first; j < first + size; ++j) square += std::pow(s(j) - mean, 2) / static_cast<double>(size);
    const int64_t column = i - first;
    return (s(i) - mean) / std::sqrt(square + epsilon) * (gamma ? gamma->at(column) : 1) + (beta ? beta->at(column) : 0);
  });
}

TEST(LayerNorm, MatchesItsDefinitionForEveryDtypeAndOptionalInput) {
  Random random;
  SCOPED_TRACE(random.trace());
  ThreadPool pool(2);
  for (const DType t : kFloatTypes) {
    for (int present = 0; present < 8; ++present) {
      const std::vector<int64_t> shape{random.integer(0, 3), random.integer(1, 5), random.integer(1, 40)};
      const auto optional = [&](int bit, std::vector<int64_t> s) { return present & bit ? Given(random.tensor(t, s)) : Given(); };
      const Tensor x = random.tensor(t, shape);
      const Given gamma = optional(1, {shape[2]}), beta = optional(2, {shape[2]}), residual = optional(4, shape);
      const Tensor y = output_of(run_op(Op::k_layer_norm, {x, gamma, beta, residual}, {{"epsilon", 1e-3}}, &pool));
      EXPECT_TRUE(close(y, naive_norm(x, gamma, beta, residual, shape[2], 1e-3, true), tolerance(t) * 4));
    }
  }
}

TEST(LayerNorm, NormalisesSeveralAxes) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF64, {3, 4, 5});
  const Tensor gamma = random.tensor(DType::kF64, {4, 5}), beta = random.tensor(DType::kF64, {4, 5});
  const Tensor y = output_of(run_op(Op::k_layer_norm, {x, gamma, beta}, {{"axis", int64_t{1}}}));
  EXPECT_TRUE(close(y, naive_norm(x, gamma, beta, {}, 20, 1e-5, true), tolerance(DType::kF64) * 4));
}

TEST(LayerNorm, KeepsDigitsWhereTheMeanIsFarFromZero) {
  const Tensor x = filled(DType::kF32, {1, 4}, [](int64_t i) { return 1e6 + static_cast<double>(i); });
  const Tensor y = output_of(run_op(Op::k_layer_norm, {x}, {{"epsilon", 0.0}}));
  const double deviation = std::sqrt(1.25);
  EXPECT_TRUE(close(y, floats({1, 4}, {static_cast<float>(-1.5 / deviation), static_cast<float>(-0.5 / deviation),
                                       static_cast<float>(0.5 / deviation), static_cast<float>(1.5 / deviation)})));
}

TEST(RmsNorm, MatchesItsDefinitionForEveryDtypeAndOptionalInput) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType t : kFloatTypes) {
    for (int present = 0; present < 4; ++present) {
      const std::vector<int64_t> shape{random.integer(1, 6), random.integer(1, 40)};
      const Tensor x = random.tensor(t, shape);
      const Given gamma = present & 1 ? Given(random.tensor(t, {shape[1]})) : Given();
      const Given residual = present & 2 ? Given(random.tensor(t, shape)) : Given();
      const Tensor y = output_of(run_op(Op::k_rms_norm, {x, gamma, residual}, {{"epsilon", 1e-3}}));
      EXPECT_TRUE(close(y, naive_norm(x, gamma, {}, residual, shape[1], 1e-3, false), tolerance(t) * 4));
    }
  }
}

TEST(Norms, InferSymbolicShapes) {
  EXPECT_EQ(inferred("%x: f32[batch,seq,8], %g: f32[8], %b: f32[8]", "layer_norm(%x, %g, %b)"), "f32[batch,seq,8]");
  EXPECT_EQ(inferred("%x: f16[tokens,8], %g: f16[8], %r: f16[tokens,8]", "rms_norm(%x, %g, %r)"), "f16[tokens,8]");
}

TEST(Norms, RefuseInputsThatDoNotFit) {
  EXPECT_THAT(inferred("%x: f32[n,8], %g: f32[7]", "layer_norm(%x, %g)"), testing::HasSubstr("input 1, axis 0: sizes 8 and 7"));
  EXPECT_THAT(inferred("%x: f32[n,8], %g: f16[8]", "layer_norm(%x, %g)"), testing::HasSubstr("input 1 is f16, f32 expected"));
  EXPECT_THAT(inferred("%x: i64[n,8]", "rms_norm(%x)"), testing::HasSubstr("must be floating-point"));
  EXPECT_THAT(inferred("%x: f32[n,8]", "layer_norm(%x) {axis = 2}"), testing::HasSubstr("axis 2 is out of range"));
}

}  // namespace
}  // namespace tenon::test
