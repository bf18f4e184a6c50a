#include "tests/kernels/run_kernel.h"

namespace tenon::test {
namespace {

using kernels::cpu::layer_norm_bf16_kernel;
using kernels::cpu::layer_norm_kernel;
using kernels::cpu::reduce_kernel;
using kernels::cpu::rms_norm_bf16_kernel;
using kernels::cpu::rms_norm_kernel;
using kernels::cpu::softmax_kernel;

TEST(NormKernels, AgreeWithReferenceWithAndWithoutEachInput) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t columns : {1, 7, 16, 127, 129, 768}) {
    for (int present = 0; present < 8; ++present) {
      SCOPED_TRACE(fmt::format("{} columns, inputs {}", columns, present));
      const int64_t rows = random.integer(1, 40);
      const auto given = [&](int bit, std::vector<int64_t> shape) -> Given {
        return present >> bit & 1 ? Given(random.tensor(DType::kF32, std::move(shape))) : std::nullopt;
      };
      const Tensor x = random.tensor(DType::kF32, {rows, columns});
      const Given gamma = given(0, {columns}), beta = given(1, {columns}), residual = given(2, {rows, columns});
      // One column has no variance: what is left is rounding, magnified by epsilon.
      if (columns > 1)
        expect_like_reference(layer_norm_kernel(), {Op::k_layer_norm, {x, gamma, beta, residual}}, kAllowed);
      expect_like_reference(rms_norm_kernel(), {Op::k_rms_norm, {x, gamma, residual}}, kAllowed);
      const Tolerance bf16 = tolerance(DType::kBF16);
      if (columns > 1)
        expect_like_reference(layer_norm_bf16_kernel(), in_bf16({Op::k_layer_norm, {x, gamma, beta, residual}}), bf16);
      expect_like_reference(rms_norm_bf16_kernel(), in_bf16({Op::k_rms_norm, {x, gamma, residual}}), bf16);
    }
  }
}

TEST(NormKernels, NormaliseOverSeveralAxes) {
  Random random;
  SCOPED_TRACE(random.trace());
  expect_like_reference(layer_norm_kernel(),
                        {Op::k_layer_norm,
                         {random.tensor(DType::kF32, {3, 4, 5}), random.tensor(DType::kF32, {4, 5})},
                         {{"axis", int64_t{1}}}},
                        kAllowed);
}

TEST(NormKernels, ALargeMeanCostsNoDigitsOfTheVariance) {
  Random random;
  SCOPED_TRACE(random.trace());
  expect_like_reference(layer_norm_kernel(), {Op::k_layer_norm, {random.tensor(DType::kF32, {5, 512}, 4096, 4100)}},
                        {1e-3, 6e-3});
}

TEST(NormKernels, WriteOverTheirInputs) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF32, {6, 50}), residual = random.tensor(DType::kF32, {6, 50});
  const auto built = build({Op::k_layer_norm, {x, std::nullopt, std::nullopt, residual}});
  const Problem& problem = (*built)->problem;
  const Tensor expected = (*run_op(Op::k_layer_norm, {x, std::nullopt, std::nullopt, residual}))[0];
  for (const int input : {0, 3}) {
    ASSERT_TRUE(layer_norm_kernel().in_place(problem, input));
    std::vector<float> a(x.as<float>(), x.as<float>() + 300), b(residual.as<float>(), residual.as<float>() + 300);
    float* y = input == 0 ? a.data() : b.data();
    const std::vector<ops::TensorArg> inputs{
        {DType::kF32, x.shape(), a.data()}, {}, {}, {DType::kF32, x.shape(), b.data()}};
    const std::vector<ops::TensorArg> outputs{{DType::kF32, x.shape(), y}};
    ASSERT_TRUE(
        (*layer_norm_kernel().prepare(problem, {}))->launch({.inputs = inputs, .outputs = outputs, .sizes = {}}).ok());
    EXPECT_TRUE(close(floats({6, 50}, std::vector<float>(y, y + 300)), expected, kAllowed));
  }
}

TEST(SoftmaxKernel, AgreesWithReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t columns : {1, 7, 16, 129})
    expect_like_reference(softmax_kernel(), {Op::k_softmax, {random.tensor(DType::kF32, {3, 5, columns}, -20, 20)}},
                          kAllowed);
}

TEST(SoftmaxKernel, ARowOfMinusInfinityIsNan) {
  const Tensor x = filled(DType::kF32, {2, 20}, [](int64_t i) { return i < 20 || i == 25 ? -INFINITY : 1.0; });
  expect_like_reference(softmax_kernel(), {Op::k_softmax, {x}}, kAllowed);
}

TEST(SoftmaxKernel, DeclinesOtherAxes) {
  Random random;
  EXPECT_EQ(declined(softmax_kernel(), {Op::k_softmax, {random.tensor(DType::kF32, {3, 4})}, {{"axis", int64_t{0}}}}),
            "softmax is not over the last axis");
}

TEST(ReduceKernel, AgreesWithReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Op op : {Op::k_reduce_sum, Op::k_reduce_mean, Op::k_reduce_max, Op::k_reduce_min, Op::k_reduce_l2}) {
    SCOPED_TRACE(ir::op_name(op));
    for (const int64_t columns : {1, 15, 16, 33, 200}) {
      const Tensor x = random.tensor(DType::kF32, {3, 4, columns});
      expect_like_reference(reduce_kernel(), {op, {x}, {{"axes", std::vector<int64_t>{2}}}}, kAllowed * 8);
      expect_like_reference(reduce_kernel(),
                            {op, {x}, {{"axes", std::vector<int64_t>{1, 2}}, {"keepdims", int64_t{0}}}}, kAllowed * 16);
    }
  }
}

TEST(ReduceKernel, NanReachesTheResult) {
  for (const Op op : {Op::k_reduce_sum, Op::k_reduce_max, Op::k_reduce_min}) {
    const Tensor x = filled(DType::kF32, {2, 37}, [](int64_t i) { return i == 20 ? NAN : static_cast<double>(i); });
    expect_like_reference(reduce_kernel(), {op, {x}, {{"axes", std::vector<int64_t>{1}}}}, kAllowed);
  }
}

TEST(ReduceKernel, DeclinesAxesThatStandApart) {
  Random random;
  const auto reason = [&](Op op, std::vector<int64_t> axes) {
    return declined(reduce_kernel(), {op, {random.tensor(DType::kF32, {3, 4, 5})}, {{"axes", std::move(axes)}}});
  };
  EXPECT_EQ(reason(Op::k_reduce_sum, {0, 2}), "its axes do not stand side by side");
  EXPECT_EQ(reason(Op::k_reduce_l2, {0}), "not over the last axes");
}

}  // namespace
}  // namespace tenon::test
