#include "tests/cuda/row_kernels.h"

namespace tenon::test {
namespace {

using kernels::cuda::matmul_kernel;

// Sums of up to some hundred products of numbers around 1 in the tensor cores' order, which cut what they add.
Tolerance allowed_for_product(DType dtype) { return tolerance(dtype) * (dtype == DType::kF32 ? 16 : 2); }

struct Shapes {
  std::vector<int64_t> a, b;
};

// Rows of 16 bytes and of less, of 4 bytes and of 2 in 16 bits; one batch, many, broadcast ones; vectors.
const Shapes kShapes[] = {{{64, 64}, {64, 64}},
                          {{1, 8}, {8, 1}},
                          {{7, 33}, {33, 5}},
                          {{130, 70}, {70, 66}},
                          {{129, 136}, {136, 200}},
                          {{2, 3, 65, 64}, {2, 3, 64, 129}},
                          {{2, 3, 65, 129}, {2, 3, 129, 64}},
                          {{5, 1, 31, 24}, {3, 24, 40}},
                          {{3, 17, 32}, {32, 72}},
                          {{48, 32}, {4, 32, 18}},
                          {{1, 3, 20, 40}, {6, 1, 40, 88}},
                          {{40}, {40, 30}},
                          {{2, 9, 40}, {40}},
                          {{4, 40}, {3, 40, 2}},
                          {{40}, {40}},
                          {{3, 5, 0}, {3, 0, 7}},
                          {{0, 5, 8}, {8, 7}}};

TEST(CudaMatmul, AgreesWithReferenceAtOddShapes) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kRowTypes) {
    for (const Shapes& s : kShapes) {
      SCOPED_TRACE(fmt::format("{} {} x {}", dtype_name(dtype), ir::to_string(ir::to_shape(s.a)), ir::to_string(ir::to_shape(s.b))));
      expect_like_reference(matmul_kernel(), {Op::k_matmul, {random.tensor(dtype, s.a, -1, 1), random.tensor(dtype, s.b, -0.5, 0.5)}},
                            allowed_for_product(dtype));
    }
  }
}

// Both factors are rounded to 11 bits.
TEST(CudaMatmul, MultipliesTf32WhereThatIsAllowed) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Shapes& s : kShapes)
    expect_like_reference(matmul_kernel(),
                          {Op::k_matmul,
                           {random.tensor(DType::kF32, s.a, -1, 1), random.tensor(DType::kF32, s.b, -0.5, 0.5)},
                           {{"factors", std::string("tf32")}}},
                          tolerance(DType::kF16) * 3);
}

// Weights that are computed when run, and sizes that the kernels of linear decline.
TEST(CudaMatmul, ComputesLinearsOfAnySizes) {
  Random random;
  SCOPED_TRACE(random.trace());
  struct Case {
    int64_t rows, k, n;
    std::string activation;
    bool bias, residual;
  };
  const Case cases[] = {{65, 48, 80, "gelu", true, true}, {33, 77, 129, "", true, true}, {70, 30, 18, "relu", false, true}, {3, 9, 5, "silu", true, false}};
  for (const DType dtype : kRowTypes) {
    for (const Case& c : cases) {
      SCOPED_TRACE(fmt::format("{} {} x {} x {}", dtype_name(dtype), c.rows, c.k, c.n));
      Step step{Op::k_linear,
                {random.tensor(dtype, {c.rows, c.k}, -1, 1), random.tensor(dtype, {c.k, c.n}, -0.5, 0.5), std::nullopt, std::nullopt},
                {{"activation", c.activation}}};
      if (c.bias) step.inputs[2] = random.tensor(dtype, {c.n});
      if (c.residual) step.inputs[3] = random.tensor(dtype, {c.rows, c.n});
      expect_like_reference(matmul_kernel(), step, allowed_for_product(dtype) * 1.5);
    }
  }
}

// What lies behind the last row reaches no other.
TEST(CudaMatmul, KeepsRowsIndependent) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  Random random;
  SCOPED_TRACE(random.trace());
  const Step all{Op::k_matmul, {random.tensor(DType::kF16, {200, 100}), random.tensor(DType::kF16, {100, 90})}};
  Step part = all;
  part.inputs[0] = rows_of(*all.inputs[0], 60, 71);
  const auto whole = run_cuda_kernel(*matmul_kernel().as_cuda(), all, {}), piece = run_cuda_kernel(*matmul_kernel().as_cuda(), part, {});
  ASSERT_TRUE(whole.ok() && piece.ok());
  EXPECT_TRUE(rows_of(whole->front(), 60, 71).same_bytes(piece->front()));
}

TEST(CudaMatmul, DeclinesWithAReason) {
  Random random;
  const auto product = [&](DType dtype) { return Step{Op::k_matmul, {random.tensor(dtype, {2, 3}), random.tensor(dtype, {3, 2})}}; };
  EXPECT_EQ(declined(matmul_kernel(), product(DType::kI32)), "input 0 is i32");
  EXPECT_EQ(declined(matmul_kernel(), product(DType::kF64)), "input 0 is f64");
}

}  // namespace
}  // namespace tenon::test
