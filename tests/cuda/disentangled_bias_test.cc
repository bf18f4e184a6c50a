#include "tests/cuda/run_cuda_kernel.h"
#include "tests/kernels/disentangled_bias_step.h"

namespace tenon::test {
namespace {

const kernels::CudaKernel& kernel() { return *kernels::cuda::disentangled_bias_kernel().as_cuda(); }

class CudaDisentangledBias : public testing::TestWithParam<DType> {
 protected:
  Tolerance within() const { return tolerance(GetParam()) * (GetParam() == DType::kF32 ? 8 : 2); }
  Random random_;
};
INSTANTIATE_TEST_SUITE_P(Types, CudaDisentangledBias, testing::Values(DType::kF32, DType::kF16, DType::kBF16),
                         [](const auto& type) { return std::string(dtype_name(type.param)); });

TEST_P(CudaDisentangledBias, AgreesWithReferenceAtEveryLength) {
  SCOPED_TRACE(random_.trace());
  for (const int64_t length : {1, 7, 64, 65, 127, 129, 300}) {
    SCOPED_TRACE(length);
    expect_like_reference(
        kernel(), dense_bias(random_, {.dtype = GetParam(), .table_rows = 512}, 2, length, length + 2), within());
  }
}

TEST_P(CudaDisentangledBias, AgreesWithReferenceInEveryHeadSize) {
  SCOPED_TRACE(random_.trace());
  for (const int64_t head_dim : {8, 16, 24, 32, 48, 96, 128})
    expect_like_reference(
        kernel(), dense_bias(random_, {.dtype = GetParam(), .heads = 3, .head_dim = head_dim}, 1, 70, 70), within());
}

TEST_P(CudaDisentangledBias, TakesEitherTableAndAnyIndex) {
  SCOPED_TRACE(random_.trace());
  for (const auto& [by_query, by_key] : {std::pair{true, false}, {false, true}, {true, true}}) {
    const DisentangledCase c{
        .dtype = GetParam(), .table_rows = 400, .by_query = by_query, .by_key = by_key, .scattered = true};
    expect_like_reference(kernel(), dense_bias(random_, c, 2, 40, 90), within());
  }
}

TEST_P(CudaDisentangledBias, AgreesWithReferenceOnPackedRows) {
  SCOPED_TRACE(random_.trace());
  for (const int32_t gap : {1, 2})
    expect_like_reference(kernel(),
                          packed_bias(random_, {.dtype = GetParam(), .heads = 3, .head_dim = 32, .table_rows = 64},
                                      {.lengths = {1, 0, 17, 200, 64}, .hidden = 1, .surplus = 5}, gap),
                          within());
}

}  // namespace
}  // namespace tenon::test
