#include "tests/kernels/run_kernel.h"

namespace tenon::test {
namespace {

using kernels::cpu::linear_kernel;
using kernels::cpu::matmul_kernel;

struct Case {
  int64_t rows, k, n;
};
const std::vector<Case> kCases{{1, 1, 1},     {1, 7, 16},    {7, 1, 17},      {8, 33, 48},    {3, 127, 129},
                               {127, 64, 47}, {129, 96, 96}, {130, 1027, 33}, {17, 2100, 65}, {0, 5, 3}};

Step step_of(Random& random, const Case& c, const std::string& activation, bool bias, bool residual, bool constant) {
  Step step{Op::k_linear,
            {random.tensor(DType::kF32, {c.rows, c.k}, -1, 1), random.tensor(DType::kF32, {c.k, c.n}, -1, 1),
             std::nullopt, std::nullopt},
            {{"activation", activation}}};
  if (bias) step.inputs[2] = random.tensor(DType::kF32, {c.n});
  if (residual) step.inputs[3] = random.tensor(DType::kF32, {c.rows, c.n});
  if (constant) step.constants = {1, 2};
  return step;
}

// Rounding of a sum grows with the root of its length.
Tolerance for_sum_of(int64_t k) { return tolerance(DType::kF32) * (2 + std::sqrt(static_cast<double>(k))); }

TEST(LinearKernel, AgreesWithReferenceAtOddShapes) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Case& c : kCases) {
    SCOPED_TRACE(fmt::format("{} x {} x {}", c.rows, c.k, c.n));
    for (const bool constant : {true, false})
      expect_like_reference(linear_kernel(), step_of(random, c, "", random.chance(0.5), random.chance(0.5), constant),
                            for_sum_of(c.k));
  }
}

TEST(LinearKernel, AppliesEveryActivationBeforeTheResidual) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const char* activation : {"relu", "gelu", "gelu_tanh", "gelu_sigmoid", "tanh", "sigmoid", "silu"}) {
    SCOPED_TRACE(activation);
    for (const bool residual : {false, true})
      expect_like_reference(linear_kernel(), step_of(random, {9, 40, 50}, activation, true, residual, true),
                            for_sum_of(40));
  }
}

TEST(LinearKernel, TakesRowsOfAnyRank) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor w = random.tensor(DType::kF32, {12, 20});
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{12}, {2, 3, 12}, {2, 1, 3, 12}})
    expect_like_reference(linear_kernel(), {Op::k_linear, {random.tensor(DType::kF32, shape), w}, {}, {1}},
                          for_sum_of(12));
}

TEST(LinearKernel, ARowIsTheSameAloneAndInAnyBatch) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Case& c : {Case{37, 70, 50}, Case{19, 1500, 100}}) {
    const Step whole = step_of(random, c, "gelu", true, true, true);
    for (const Isa isa : available_isas()) {
      const Tensor all = (*run_kernel(linear_kernel(), whole, isa, 2))[0];
      for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {c.rows - 1, c.rows}, {3, 12}, {5, 5 + 8}}) {
        Step part = whole;
        part.inputs[0] = rows_of(*whole.inputs[0], begin, end);
        part.inputs[3] = rows_of(*whole.inputs[3], begin, end);
        const Tensor some = (*run_kernel(linear_kernel(), part, isa, 1))[0];
        EXPECT_TRUE(some.same_bytes(rows_of(all, begin, end))) << isa_name(isa) << ", rows " << begin << " to " << end;
      }
    }
  }
}

TEST(LinearKernel, InstructionSetsWithFusedMultiplyAddAgreeBitForBit) {
  if (available_isas().front() < Isa::kAvx512) GTEST_SKIP() << "this machine has one such set at most";
  Random random;
  SCOPED_TRACE(random.trace());
  const Step step = step_of(random, {21, 1300, 77}, "gelu", true, true, true);
  EXPECT_TRUE((*run_kernel(linear_kernel(), step, Isa::kAvx512, 1))[0].same_bytes(
      (*run_kernel(linear_kernel(), step, Isa::kAvx2, 2))[0]));
}

TEST(LinearKernel, PropagatesNanAndInfinity) {
  for (const char* activation : {"", "relu", "gelu", "tanh", "sigmoid"}) {
    SCOPED_TRACE(activation);
    expect_like_reference(linear_kernel(),
                          {Op::k_linear,
                           {floats({3, 1}, {NAN, INFINITY, 2}), floats({1, 2}, {1, 3})},
                           {{"activation", std::string(activation)}},
                           {1}},
                          tolerance(DType::kF32));
  }
}

TEST(LinearKernel, DeclinesOtherTypesAndSaysWhich) {
  Random random;
  const auto half = [&](std::vector<int64_t> shape) { return random.tensor(DType::kF16, std::move(shape)); };
  EXPECT_EQ(declined(linear_kernel(), {Op::k_linear, {half({2, 3}), half({3, 4})}, {}, {1}}),
            "input 0 is f16, f32 is needed");
  EXPECT_EQ(declined(linear_kernel(), {Op::k_matmul, {half({2, 3}), half({3, 4})}}), "computes linear only");
}

TEST(MatmulKernel, AgreesWithReferenceInEveryForm) {
  Random random;
  SCOPED_TRACE(random.trace());
  using Shape = std::vector<int64_t>;
  const std::vector<std::pair<Shape, Shape>> forms{{{5, 7}, {7, 9}},
                                                   {{7}, {7, 9}},
                                                   {{5, 7}, {7}},
                                                   {{7}, {7}},
                                                   {{2, 3, 5, 7}, {2, 3, 7, 20}},
                                                   {{4, 5, 7}, {7, 33}},
                                                   {{2, 1, 5, 7}, {3, 7, 9}},
                                                   {{5, 7}, {4, 7, 9}},
                                                   {{2, 3, 7}, {7}},
                                                   {{0, 5, 7}, {0, 7, 9}}};
  for (const auto& [a, b] : forms) {
    SCOPED_TRACE(ir::to_string(ir::to_shape(a)) + " by " + ir::to_string(ir::to_shape(b)));
    expect_like_reference(matmul_kernel(),
                          {Op::k_matmul, {random.tensor(DType::kF32, a), random.tensor(DType::kF32, b)}},
                          for_sum_of(7) * 2);
  }
}

}  // namespace
}  // namespace tenon::test
