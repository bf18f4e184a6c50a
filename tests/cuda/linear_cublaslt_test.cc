// linear by cuBLASLt, beside the plain loops. Skipped where there is no GPU or no such library.
#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/linear.h"
#include "tests/cuda/run_cuda_kernel.h"

namespace tenon::test {
namespace {

using kernels::CudaKernel;

struct ProductCase {
  int64_t rows, k, n;
  std::string activation;
  bool bias, residual;
};

Step product_step(Random& random, DType dtype, const ProductCase& c, const std::string& factors = "") {
  Step step{Op::k_linear,
            {random.tensor(dtype, {c.rows, c.k}, -1, 1), random.tensor(dtype, {c.k, c.n}, -0.1, 0.1), std::nullopt, std::nullopt},
            {{"activation", c.activation}, {"factors", factors}},
            {1, 2}};
  if (c.bias) step.inputs[2] = random.tensor(dtype, {c.n});
  if (c.residual) step.inputs[3] = random.tensor(dtype, {c.rows, c.n});
  return step;
}

std::vector<const CudaKernel*> kernels_of(DType dtype) {
  using namespace kernels::cuda;
  if (dtype == DType::kF32) return {linear_f32_kernel().as_cuda()};
  return {linear_sm80_kernel().as_cuda(), linear_sm90_kernel().as_cuda()};
}

TEST(CudaLinearCublasLt, AgreesWithReference) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  if (!cuda::cublaslt().ok()) GTEST_SKIP() << cuda::cublaslt().status().message();
  Random random;
  SCOPED_TRACE(random.trace());
  const ProductCase cases[] = {{1, 64, 96, "", true, false},      {129, 768, 264, "", true, true},        {300, 136, 776, "relu", true, false},
                               {65, 72, 200, "", false, false},   {33, 256, 64, "gelu_tanh", true, false}, {17, 40, 56, "", false, true},
                               {0, 64, 64, "relu", false, false}, {700, 64, 128, "gelu_tanh", false, false}};
  struct Kind {
    DType dtype;
    std::string factors;
    Tolerance allowed;
  };
  const Kind kinds[] = {{DType::kF16, "", tolerance(DType::kF16) * 3},
                        {DType::kBF16, "", tolerance(DType::kBF16) * 3},
                        {DType::kF32, "", tolerance(DType::kF32) * 16},
                        {DType::kF32, "tf32", tolerance(DType::kF16) * 3}};
  for (const auto& [dtype, factors, allowed] : kinds) {
    for (const ProductCase& c : cases) {
      const Step step = product_step(random, dtype, c, factors);
      const auto expected = run_op(step.op, step.inputs, step.attrs);
      ASSERT_TRUE(expected.ok()) << expected.status().message();
      for (const CudaKernel* kernel : kernels_of(dtype)) {
        for (const kernels::Config& config : kernel->library_configs((*build(step))->problem, "cublaslt")) {
          SCOPED_TRACE(fmt::format("{} {} {}: {} x {} x {} '{}'", kernel->id(), config.text, dtype_name(dtype), c.rows, c.k, c.n, c.activation));
          const auto actual = run_cuda_kernel(*kernel, step, config);
          ASSERT_TRUE(actual.ok()) << actual.status().message();
          EXPECT_TRUE(close(actual->front(), expected->front(), allowed));
        }
      }
    }
  }
}

// Nothing is offered that the library computes otherwise: its GELU is the tanh form, and it adds a residual first.
TEST(CudaLinearCublasLt, OffersOnlyWhatMeansTheSame) {
  Random random;
  const auto offers = [&](const ProductCase& c, std::string_view library = "cublaslt") {
    const Step step = product_step(random, DType::kF16, c);
    size_t count = 0;
    for (const CudaKernel* kernel : kernels_of(DType::kF16)) {
      const std::vector<kernels::Config> configs = kernel->library_configs((*build(step))->problem, library);
      count += configs.size();
      for (const kernels::Config& config : configs) EXPECT_FALSE(kernel->code((*build(step))->problem, config, 90)) << config.text;
    }
    return count;
  };
  EXPECT_GT(offers({8, 64, 64, "", true, true}), 0U);
  EXPECT_GT(offers({8, 64, 64, "relu", true, false}), 0U);
  EXPECT_GT(offers({8, 64, 64, "gelu_tanh", true, false}), 0U);
  EXPECT_EQ(offers({8, 64, 64, "gelu", true, false}), 0U);
  EXPECT_EQ(offers({8, 64, 64, "relu", true, true}), 0U);
  EXPECT_EQ(offers({8, 64, 64, "silu", false, false}), 0U);
  EXPECT_EQ(offers({8, 64, 64, "", true, false}, "cudnn"), 0U);
}

}  // namespace
}  // namespace tenon::test
