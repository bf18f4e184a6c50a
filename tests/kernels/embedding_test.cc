#include "tests/kernels/run_kernel.h"

namespace tenon::test {
namespace {

using kernels::cpu::embedding_kernel;


Step step_of(Random& random, const std::vector<std::vector<int64_t>>& ids, int64_t width, bool norm,
             DType dtype = DType::kI64) {
  Step step{Op::k_embedding, {}, {{"norm", int64_t{norm}}, {"epsilon", 1e-12}}};
  for (const auto& shape : ids) {
    const int64_t rows = random.integer(2, 30);
    step.inputs.push_back(random.tensor(dtype, shape, 0, static_cast<double>(rows - 1)));
    step.inputs.push_back(random.tensor(DType::kF32, {rows, width}));
  }
  for (int i = 0; norm && i < 2; ++i) step.inputs.push_back(random.tensor(DType::kF32, {width}));
  return step;
}

TEST(EmbeddingKernel, AgreesWithReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t width : {7, 16, 33, 768}) {
    for (const bool norm : {false, true}) {
      SCOPED_TRACE(fmt::format("width {}, norm {}", width, norm));
      expect_like_reference(embedding_kernel(), step_of(random, {{5, 9}, {5, 9}, {5, 9}}, width, norm), kAllowed);
      expect_like_reference(embedding_kernel(), step_of(random, {{41}, {41}}, width, norm, DType::kI32), kAllowed);
    }
  }
}

TEST(EmbeddingKernel, BroadcastsIds) {
  Random random;
  SCOPED_TRACE(random.trace());
  expect_like_reference(embedding_kernel(), step_of(random, {{5, 9}, {9}, {1, 9}, {5, 1}, {}}, 20, true), kAllowed);
}

TEST(EmbeddingKernel, NamesTheIdThatIsOutOfRange) {
  Random random;
  for (const int64_t wrong : {int64_t{-1}, int64_t{30}}) {
    Step step = step_of(random, {{2, 3}}, 8, false);
    step.inputs[0] = filled(DType::kI64, {2, 3}, [&](int64_t i) { return i == 4 ? static_cast<double>(wrong) : 0.0; });
    expect_same_error(embedding_kernel(), step);
  }
}

TEST(EmbeddingKernel, DeclinesHalfTables) {
  Random random;
  EXPECT_EQ(declined(embedding_kernel(),
                     {Op::k_embedding, {random.tensor(DType::kI64, {3}, 0, 1), random.tensor(DType::kF16, {2, 4})}}),
            "tables are not f32");
}

}  // namespace
}  // namespace tenon::test
