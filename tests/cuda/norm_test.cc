#include "tests/cuda/row_kernels.h"

namespace tenon::test {
namespace {

namespace device = kernels::cuda;

TEST(CudaNorms, AgreeWithReferenceAtAnyWidth) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kRowTypes) {
    for (const int64_t width : {2, 7, 8, 32, 127, 129, 384, 768, 1000, 1024, 3072, 8185, 8192}) {
      for (const int64_t rows : {int64_t{1}, random.integer(2, 9), int64_t{129}}) {
        SCOPED_TRACE(fmt::format("{} {} x {}", dtype_name(dtype), rows, width));
        const Tensor x = random.tensor(dtype, {rows, width}), residual = random.tensor(dtype, {rows, width});
        const Tensor gamma = random.tensor(dtype, {width}), beta = random.tensor(dtype, {width});
        expect_like_reference(device::layer_norm_kernel(),
                              {Op::k_layer_norm, {x, gamma, beta, residual}, {{"epsilon", 1e-3}}, {1, 2}},
                              allowed_for(dtype) * 2);
        if (rows == 129) continue;
        expect_like_reference(device::rms_norm_kernel(), {Op::k_rms_norm, {x, gamma, residual}},
                              allowed_for(dtype) * 2);
      }
    }
  }
}

TEST(CudaNorms, TakeAnySetOfInputs) {
  Random random;
  SCOPED_TRACE(random.trace());
  const DType dtype = DType::kF16;
  const Tensor x = random.tensor(dtype, {3, 5, 40}), vector = random.tensor(dtype, {40}),
               residual = random.tensor(dtype, {3, 5, 40});
  for (int present = 0; present < 8; ++present) {
    SCOPED_TRACE(present);
    const auto given = [&](int bit, const Tensor& t) { return present >> bit & 1 ? Given(t) : std::nullopt; };
    expect_like_reference(device::layer_norm_kernel(),
                          {Op::k_layer_norm, {x, given(0, vector), given(1, vector), given(2, residual)}},
                          allowed_for(dtype) * 2);
    expect_like_reference(device::rms_norm_kernel(),
                          {Op::k_rms_norm, {x, given(0, vector), given(2, residual)}, {}, {1}}, allowed_for(dtype) * 2);
  }
}

TEST(CudaNorms, NormaliseOverSeveralAxes) {
  Random random;
  SCOPED_TRACE(random.trace());
  expect_like_reference(device::layer_norm_kernel(),
                        {Op::k_layer_norm,
                         {random.tensor(DType::kF32, {3, 4, 5}), random.tensor(DType::kF32, {4, 5})},
                         {{"axis", int64_t{1}}}},
                        allowed_for(DType::kF32));
}

TEST(CudaNorms, ALargeMeanCostsNoDigitsOfTheVariance) {
  Random random;
  SCOPED_TRACE(random.trace());
  expect_like_reference(device::layer_norm_kernel(),
                        {Op::k_layer_norm, {random.tensor(DType::kF32, {5, 512}, 4096, 4100)}}, {1e-3, 6e-3});
}

TEST(CudaNorms, DeclineWithAReason) {
  Random random;
  EXPECT_EQ(declined(device::layer_norm_kernel(), {Op::k_layer_norm, {random.tensor(DType::kF16, {2, 8200})}}),
            "rows are not 1 to 8192 elements wide");
  EXPECT_EQ(declined(device::rms_norm_kernel(), {Op::k_rms_norm, {random.tensor(DType::kF64, {2, 8})}}), "x is f64");
}

}  // namespace
}  // namespace tenon::test
