#include "tests/cuda/row_kernels.h"

namespace tenon::test {
namespace {

using kernels::cuda::embedding_kernel;

Step embedding_step(Random& random, DType dtype, const std::vector<std::vector<int64_t>>& ids, int64_t width,
                    bool norm) {
  Step step{Op::k_embedding, {}, {{"norm", int64_t{norm}}, {"epsilon", 1e-5}}};
  for (const auto& shape : ids) {
    const int64_t rows = random.integer(2, 300);
    const DType ids_dtype = random.chance(0.5) ? DType::kI64 : DType::kI32;
    step.inputs.push_back(random.tensor(ids_dtype, shape, 0, static_cast<double>(rows - 1)));
    step.inputs.push_back(random.tensor(dtype, {rows, width}));
  }
  for (int i = 0; norm && i < 2; ++i) {
    step.constants.push_back(static_cast<int>(step.inputs.size()));
    step.inputs.push_back(random.tensor(dtype, {width}));
  }
  return step;
}

TEST(CudaEmbedding, AgreesWithReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kRowTypes) {
    for (const int64_t width : {7, 32, 129, 768, 1024}) {
      for (const int64_t rows : {1, 7, 127, 129}) {
        SCOPED_TRACE(fmt::format("{} {} x {}", dtype_name(dtype), rows, width));
        expect_like_reference(embedding_kernel(), embedding_step(random, dtype, {{rows}, {rows}, {rows}}, width, true),
                              allowed_for(dtype) * 2);
      }
      expect_like_reference(embedding_kernel(), embedding_step(random, dtype, {{5, 9}}, width, false),
                            allowed_for(dtype));
    }
  }
}

TEST(CudaEmbedding, BroadcastsIds) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const bool norm : {false, true}) {
    expect_like_reference(embedding_kernel(),
                          embedding_step(random, DType::kF32, {{5, 9}, {9}, {1, 9}, {5, 1}, {}}, 24, norm),
                          allowed_for(DType::kF32) * 2);
  }
}

// Rows behind the data hold anything: they must not be read out of the table.
TEST(CudaEmbedding, ClampsIds) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  Random random;
  const Tensor table = random.tensor(DType::kF16, {10, 16});
  const auto ids = [](const std::vector<int64_t>& values) { return Tensor::from(DType::kI64, {4}, values); };
  const auto actual = run_cuda_kernel(*embedding_kernel().as_cuda(),
                                      {Op::k_embedding, {ids({-5, 3, int64_t{1} << 40, 10}), table}}, {});
  const auto expected = run_op(Op::k_embedding, {ids({0, 3, 9, 9}), table});
  ASSERT_TRUE(actual.ok()) << actual.status().message();
  EXPECT_TRUE(close((*actual)[0], (*expected)[0], {}));
}

}  // namespace
}  // namespace tenon::test
