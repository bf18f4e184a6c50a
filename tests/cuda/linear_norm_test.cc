#include "tests/cuda/run_cuda_kernel.h"

namespace tenon::test {
namespace {

using kernels::Config;
using kernels::CudaKernel;
using kernels::cuda::linear_sm80_kernel;
using kernels::cuda::linear_sm90_kernel;

struct NormCase {
  int64_t rows, k, n;
  bool norm_x, norm_residual, moments;
  std::string activation = "";
};

// Moments of rows whose standard deviation is about 1.
Tensor moments(Random& random, int64_t rows, int64_t width) {
  const Tensor uniform = random.tensor(DType::kF32, {rows, width / 64, 2}, 0, 1);
  return filled(DType::kF32, uniform.shape(),
                [&](int64_t i) { return i % 2 == 0 ? uniform.at(i) - 0.5 : 32 + 64 * uniform.at(i); });
}

Step linear_norm_step(Random& random, DType dtype, const NormCase& c, double largest_residual = 1) {
  Step step{Op::k_linear_norm,
            {random.tensor(dtype, {c.rows, c.k}, -1, 1), random.tensor(dtype, {c.k, c.n}, -0.1, 0.1),
             random.tensor(DType::kF32, {c.n}), std::nullopt, std::nullopt, std::nullopt, std::nullopt},
            {{"activation", c.activation}, {"epsilon", 0.01}, {"moments", int64_t{c.moments}}},
            {1, 2, 6}};
  if (c.norm_x) step.inputs[4] = moments(random, c.rows, c.k);
  if (c.norm_residual || random.chance(0.5)) {
    const Tensor small = random.tensor(dtype, {c.rows, c.n}, -1, 1);
    step.inputs[3] =
        filled(dtype, small.shape(), [&](int64_t i) { return small.at(i) * (i % 97 == 5 ? largest_residual : 1); });
  }
  if (c.norm_residual) {
    step.inputs[5] = moments(random, c.rows, c.n);
    step.inputs[6] = random.tensor(DType::kF32, {c.n}, 0.2, 2);
  }
  return step;
}

void expect_linear_norm(const NormCase& c, double largest_residual = 1) {
  if (gpu() != nullptr && gpu()->compute_capability() != 90) GTEST_SKIP() << "for sm_90";
  Random random;
  SCOPED_TRACE(random.trace());
  const DType dtype = random.chance(0.5) ? DType::kF16 : DType::kBF16;
  SCOPED_TRACE(fmt::format("{} {} x {} x {} norms of x {} residual {} moments {}", dtype_name(dtype), c.rows, c.k, c.n,
                           c.norm_x, c.norm_residual, c.moments));
  // One rounding of the result, sums in another order, an activation by approximate instructions.
  const Tolerance allowed = tolerance(dtype) * 3;
  expect_like_reference(*linear_sm90_kernel().as_cuda(), linear_norm_step(random, dtype, c, largest_residual), allowed);
}

TEST(CudaLinearNorm, NormalisesX) {
  for (const int64_t rows : {1, 7, 129}) expect_linear_norm({rows, 192, 264, true, false, false, "gelu"});
}
TEST(CudaLinearNorm, NormalisesTheResidualAndGivesMoments) {
  for (const int64_t rows : {1, 63, 127, 300}) expect_linear_norm({rows, 136, 320, false, true, true});
}
TEST(CudaLinearNorm, GivesMomentsOfAPlainProduct) { expect_linear_norm({129, 72, 64, false, false, true, "relu"}); }
TEST(CudaLinearNorm, NormalisesXAndGivesMoments) { expect_linear_norm({65, 768, 192, true, false, true}); }
TEST(CudaLinearNorm, TakesOutlierChannels) { expect_linear_norm({100, 256, 768, false, true, true}, 1000); }
TEST(CudaLinearNorm, WalksOverSeveralTilesOfABlock) {
  expect_linear_norm({5000, 64, 1024, false, true, true});
  expect_linear_norm({2500, 320, 1536, true, false, false, "gelu"});
}
TEST(CudaLinearNorm, TakesNoRows) { expect_linear_norm({0, 64, 64, true, false, true}); }

// A row's rows and moments do not depend on the rows beside it; configs of one numerics tag give the same bits.
TEST(CudaLinearNorm, KeepsRowsIndependent) {
  if (gpu() == nullptr || gpu()->compute_capability() != 90) GTEST_SKIP() << "no GPU of sm_90";
  Random random;
  SCOPED_TRACE(random.trace());
  const CudaKernel& kernel = *linear_sm90_kernel().as_cuda();
  for (const bool of_x : {false, true}) {
    const Step all = linear_norm_step(random, DType::kF16, {200, 256, 192, of_x, !of_x, true});
    Step part = all;
    for (const size_t i : {0, 3, 4, 5})
      if (all.inputs[i]) part.inputs[i] = rows_of(*all.inputs[i], 60, 71);
    std::map<std::string, std::vector<Tensor>> by_numerics;
    for (const Config& config : kernel.configs((*build(all))->problem)) {
      SCOPED_TRACE(config.text);
      const auto whole = run_cuda_kernel(kernel, all, config), piece = run_cuda_kernel(kernel, part, config);
      ASSERT_TRUE(whole.ok() && piece.ok());
      const auto& same = by_numerics.try_emplace(config.numerics, *whole).first->second;
      for (size_t i = 0; i < 2; ++i) {
        EXPECT_TRUE(rows_of((*whole)[i], 60, 71).same_bytes((*piece)[i])) << "output " << i;
        EXPECT_TRUE(same[i].same_bytes((*whole)[i])) << "output " << i;
      }
    }
  }
}

TEST(CudaLinearNorm, DeclinesWithAReason) {
  Random random;
  Step step = linear_norm_step(random, DType::kF16, {2, 64, 64, true, true, false});
  EXPECT_EQ(linear_sm90_kernel().supports((*build(step))->problem).reason,
            "both x and the residual are to be normalised");
  EXPECT_EQ(linear_sm80_kernel().supports((*build(step))->problem).reason, "computes linear only");
}

}  // namespace
}  // namespace tenon::test
