#include <map>

#include "tests/cuda/run_cuda_kernel.h"

namespace tenon::test {
namespace {

using kernels::Config;
using kernels::CudaKernel;
using kernels::cuda::best_linear_config;
using kernels::cuda::linear_sm80_kernel;
using kernels::cuda::linear_sm90_kernel;

struct LinearCase {
  int64_t rows, k, n;
};

Step linear_step(Random& random, DType dtype, const LinearCase& c, const std::string& activation, bool bias, bool residual) {
  Step step{Op::k_linear,
            {random.tensor(dtype, {c.rows, c.k}, -1, 1), random.tensor(dtype, {c.k, c.n}, -0.1, 0.1), std::nullopt, std::nullopt},
            {{"activation", activation}},
            {1, 2}};
  if (bias) step.inputs[2] = random.tensor(dtype, {c.n});
  if (residual) step.inputs[3] = random.tensor(dtype, {c.rows, c.n});
  return step;
}

// One rounding of the result, and sums of up to a few thousand products in another order: twice the table's. With an
// activation by approximate instructions (2^-11 of their value) once more.
Tolerance linear_tolerance(DType dtype, const std::string& activation) { return tolerance(dtype) * (activation.empty() ? 2 : 3); }

// The kernels that this machine's GPU can run; without one those that can be compiled.
std::vector<const CudaKernel*> linear_kernels() {
  std::vector<const CudaKernel*> list = {linear_sm80_kernel().as_cuda()};
  if (gpu() == nullptr || gpu()->compute_capability() == 90) list.push_back(linear_sm90_kernel().as_cuda());
  return list;
}

void expect_linear(Random& random, DType dtype, const LinearCase& c, const std::string& activation, bool bias, bool residual) {
  SCOPED_TRACE(fmt::format("{} {} x {} x {} '{}' bias {} residual {}", dtype_name(dtype), c.rows, c.k, c.n, activation, bias, residual));
  const Step step = linear_step(random, dtype, c, activation, bias, residual);
  for (const CudaKernel* kernel : linear_kernels()) expect_like_reference(*kernel, step, linear_tolerance(dtype, activation));
}

TEST(CudaLinear, AgreesWithReferenceAtOddShapes) {
  Random random;
  SCOPED_TRACE(random.trace());
  const LinearCase cases[] = {{1, 8, 8}, {7, 64, 200}, {127, 200, 64}, {129, 768, 264}, {300, 136, 776}};
  bool swap = random.chance(0.5);
  for (const LinearCase& c : cases) {
    expect_linear(random, swap ? DType::kF16 : DType::kBF16, c, "", c.rows % 2 == 1, c.k % 3 != 0);
    swap = !swap;
  }
}

TEST(CudaLinear, WalksOverSeveralTilesOfABlock) {
  Random random;
  SCOPED_TRACE(random.trace());
  expect_linear(random, DType::kF16, {2500, 72, 1544}, "", true, true);
  expect_linear(random, DType::kBF16, {8300, 264, 520}, "gelu", true, false);
}

// One tile of each epilogue is enough.
TEST(CudaLinear, AppliesEveryActivationBeforeTheResidual) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  Random random;
  SCOPED_TRACE(random.trace());
  const std::string tiles[] = {"tile=64x64", "tile=64x64,split=4", "tile=128x128,schedule=pingpong,cluster=1",
                               "tile=128x256,schedule=cooperative,cluster=2"};
  for (const std::string activation : {"relu", "gelu", "gelu_tanh", "gelu_sigmoid", "tanh", "sigmoid", "silu"}) {
    for (const bool residual : {false, true}) {
      const DType dtype = random.chance(0.5) ? DType::kF16 : DType::kBF16;
      const Step step = linear_step(random, dtype, {65, 40, 56}, activation, true, residual);
      const auto expected = run_op(step.op, step.inputs, step.attrs);
      ASSERT_TRUE(expected.ok());
      for (const CudaKernel* kernel : linear_kernels()) {
        for (const Config& config : kernel->configs((*build(step))->problem)) {
          if (std::find(std::begin(tiles), std::end(tiles), config.text) == std::end(tiles)) continue;
          SCOPED_TRACE(fmt::format("{} {} {} {}", kernel->id(), config.text, activation, residual));
          const auto actual = run_cuda_kernel(*kernel, step, config);
          ASSERT_TRUE(actual.ok()) << actual.status().message();
          EXPECT_TRUE(close(actual->front(), expected->front(), linear_tolerance(dtype, activation)));
        }
      }
    }
  }
}

TEST(CudaLinear, TakesNoRows) {
  Random random;
  expect_linear(random, DType::kF16, {0, 64, 64}, "", true, true);
}

// A row's result does not depend on the rows beside it, in any config; configs of one numerics tag give the same bits.
TEST(CudaLinear, KeepsRowsIndependent) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  Random random;
  SCOPED_TRACE(random.trace());
  const Step all = linear_step(random, DType::kF16, {200, 256, 128}, "gelu", true, true);
  Step part = all;
  part.inputs[0] = rows_of(*all.inputs[0], 60, 71);
  part.inputs[3] = rows_of(*all.inputs[3], 60, 71);
  for (const CudaKernel* kernel : linear_kernels()) {
    std::map<std::string, Tensor> by_numerics;
    for (const Config& config : kernel->configs((*build(all))->problem)) {
      SCOPED_TRACE(config.text);
      const auto whole = run_cuda_kernel(*kernel, all, config), piece = run_cuda_kernel(*kernel, part, config);
      ASSERT_TRUE(whole.ok() && piece.ok());
      EXPECT_TRUE(rows_of(whole->front(), 60, 71).same_bytes(piece->front()));
      EXPECT_TRUE(by_numerics.try_emplace(config.numerics, whole->front()).first->second.same_bytes(whole->front()));
    }
  }
}

TEST(CudaLinear, DeclinesWithAReason) {
  Random random;
  const auto reason = [&](const Step& step) { return linear_sm90_kernel().supports((*build(step))->problem).reason; };
  EXPECT_EQ(reason(linear_step(random, DType::kF32, {1, 8, 8}, "", true, false)), "computes f16 and bf16 only");
  EXPECT_EQ(reason(linear_step(random, DType::kF16, {1, 12, 8}, "", true, false)), "the weight's size 12 is not a multiple of 8");
  EXPECT_EQ(reason(linear_step(random, DType::kF16, {1, 8, 30}, "", true, false)), "the weight's size 30 is not a multiple of 8");
  Step variable = linear_step(random, DType::kF16, {1, 8, 8}, "", true, false);
  variable.constants = {};
  EXPECT_EQ(reason(variable), "the weight is not constant");
}

TEST(CudaLinear, ChoosesAConfigForTheRows) {
  Random random;
  const auto built = build(linear_step(random, DType::kF16, {1, 768, 768}, "", true, false));
  EXPECT_THAT(best_linear_config((*built)->problem, 64, 132), testing::HasSubstr("split="));
  EXPECT_THAT(best_linear_config((*built)->problem, 16896, 132), testing::HasSubstr("schedule="));
}

}  // namespace
}  // namespace tenon::test
