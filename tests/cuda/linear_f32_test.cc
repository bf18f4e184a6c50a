#include "tests/cuda/run_cuda_kernel.h"

namespace tenon::test {
namespace {

const kernels::CudaKernel& wide() { return *kernels::cuda::linear_f32_kernel().as_cuda(); }

struct WideCase {
  int64_t rows, k, n;
  std::string activation;
  bool bias, residual;
};

Step wide_step(Random& random, const WideCase& c, const std::string& factors) {
  Step step{Op::k_linear,
            {random.tensor(DType::kF32, {c.rows, c.k}, -1, 1), random.tensor(DType::kF32, {c.k, c.n}, -0.1, 0.1),
             std::nullopt, std::nullopt},
            {{"activation", c.activation}, {"factors", factors}},
            {1, 2}};
  if (c.bias) step.inputs[2] = random.tensor(DType::kF32, {c.n});
  if (c.residual) step.inputs[3] = random.tensor(DType::kF32, {c.rows, c.n});
  return step;
}

const WideCase kWideCases[] = {{1, 4, 1, "", true, false},          {7, 64, 200, "relu", true, true},
                               {127, 200, 65, "gelu", false, true}, {129, 768, 264, "tanh", true, false},
                               {300, 36, 777, "silu", true, true},  {65, 100, 31, "gelu_tanh", true, true},
                               {33, 1024, 96, "", false, false},    {0, 64, 64, "", true, true}};

// Sums of up to a thousand products in the tensor cores' order, which cut what they add.
TEST(CudaLinearF32, KeepsAllOfF32) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const WideCase& c : kWideCases)
    expect_like_reference(wide(), wide_step(random, c, ""), tolerance(DType::kF32) * 8);
}

// Both factors are rounded to 11 bits.
TEST(CudaLinearF32, MultipliesTf32WhereThatIsAllowed) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const WideCase& c : kWideCases) {
    expect_like_reference(wide(), wide_step(random, c, "tf32"), tolerance(DType::kF16) * 3);
  }
}

TEST(CudaLinearF32, HopperMultipliesByWgmma) {
  const kernels::CudaKernel& kernel = *kernels::cuda::linear_f32_sm90_kernel().as_cuda();
  Random random;
  SCOPED_TRACE(random.trace());
  for (WideCase c : kWideCases) {
    c.n += c.n % 2;
    expect_like_reference(kernel, wide_step(random, c, ""), tolerance(DType::kF32) * 8);
    expect_like_reference(kernel, wide_step(random, c, "tf32"), tolerance(DType::kF16) * 3);
  }
  EXPECT_EQ(kernel.supports((*build(wide_step(random, {1, 8, 7, "", true, false}, "tf32")))->problem).reason,
            "the number of columns is odd");
}

// In two terms infinity meets the second term of W, which may be 0.
TEST(CudaLinearF32, HopperKeepsNansAndInOneTermInfinities) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const std::string factors : {"", "tf32"}) {
    Step step = wide_step(random, {3, 64, 40, "", true, false}, factors);
    const float nan = std::bit_cast<float>(0x7fffffff);  // the GPU's own
    std::vector<float> x(step.inputs[0]->as<float>(), step.inputs[0]->as<float>() + 3 * 64);
    x[64 + 7] = nan;
    if (!factors.empty()) x[5] = INFINITY, x[2 * 64 + 9] = -INFINITY;
    step.inputs[0] = Tensor::from(DType::kF32, {3, 64}, x);
    expect_like_reference(*kernels::cuda::linear_f32_sm90_kernel().as_cuda(), step, tolerance(DType::kF16) * 3);
  }
}

TEST(CudaLinearF32, DeclinesWithAReason) {
  Random random;
  const auto reason = [&](const Step& step) { return wide().supports((*build(step))->problem).reason; };
  EXPECT_EQ(reason(wide_step(random, {1, 6, 8, "", true, false}, "")), "the depth is not a multiple of 4");
  EXPECT_EQ(reason(wide_step(random, {1, 8, 8, "", true, false}, "bf16")), "factors of bf16 are asked for");
}

}  // namespace
}  // namespace tenon::test
