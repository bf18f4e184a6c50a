#include "tests/cuda/projected_attention.h"

namespace tenon::test {
namespace {

using kernels::Config;
using kernels::CudaKernel;
using kernels::cuda::attention_sm90_kernel;
using kernels::cuda::linear_sm90_kernel;

// Rows of sequences: those behind the last hold anything.
Tensor sequences_of(const Tensor& y, const ProjectedCase& c) { return rows_of(y, 0, y.shape()[0] - c.surplus); }

// The same bits as the two kernels that it stands for; where `c.hidden` is set blocks of keys begin elsewhere, and the
// reference decides.
void expect_like_both(const ProjectedCase& c) {
  Random random;
  SCOPED_TRACE(random.trace());
  SCOPED_TRACE(fmt::format("{} heads, depth {}, {}{}", c.heads, c.depth, dtype_name(c.dtype), c.normed ? ", normed" : ""));
  const ProjectedAttention step(random, c);
  const kernels::Support support = projected().supports(step.problem);
  ASSERT_TRUE(support) << support.reason;
  if (gpu() == nullptr || gpu()->compute_capability() != 90) {
    if (cuda::nvrtc_version() == 0) GTEST_SKIP() << "neither a GPU of sm_90 nor NVRTC";
    const auto compiled = compile_kernel(projected(), step.problem, projected().configs(step.problem)[0], 90);
    ASSERT_TRUE(compiled.ok()) << compiled.status().message();
    GTEST_SKIP() << "compiled; no GPU to run it on";
  }
  const CudaKernel& linear = *linear_sm90_kernel().as_cuda();
  const std::vector<Config> tiles = linear.configs(*step.problem.before);
  const auto plain = std::find_if(tiles.begin(), tiles.end(), [](const Config& tile) { return tile.numerics == "wgmma"; });
  ASSERT_NE(plain, tiles.end());
  const auto qkv = run_cuda_kernel(linear, step.product, *plain);
  ASSERT_TRUE(qkv.ok()) << qkv.status().message();
  const Step attend = step.attend((*qkv)[0]);
  const CudaKernel& attention = *attention_sm90_kernel().as_cuda();
  const auto two = run_cuda_kernel(attention, attend, attention.configs(step.problem)[0]);
  const auto expected = run_op(attend.op, attend.inputs, attend.attrs);
  ASSERT_TRUE(two.ok() && expected.ok());

  std::vector<Given> inputs = step.product.inputs;
  inputs.push_back((*qkv)[0]);  // not read
  inputs.insert(inputs.end(), attend.inputs.begin(), attend.inputs.end());
  const auto packed = linear.prepack(*step.problem.before, 1, *inputs[1]);
  ASSERT_TRUE(packed.ok());
  for (const Config& config : projected().configs(step.problem)) {
    SCOPED_TRACE(config.text);
    const auto one = run_cuda_kernel(projected(), step.problem, inputs, {{1, *packed}}, config);
    ASSERT_TRUE(one.ok()) << one.status().message();
    const Tensor actual = sequences_of((*one)[0], c);
    if (c.hidden == 0) {
      EXPECT_TRUE(actual.same_bytes(sequences_of((*two)[0], c)));
    }
    EXPECT_TRUE(close(actual, sequences_of((*expected)[0], c), tolerance(c.dtype) * 3));
  }
}

TEST(CudaProjectedAttention, AgreesWithBothKernels) {
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (const bool normed : {false, true}) {
      expect_like_both({.lengths = {128, 128, 128}, .normed = normed, .dtype = dtype});
      expect_like_both({.lengths = {1, 7, 64, 0, 65, 127, 128, 16, 80}, .normed = normed, .dtype = dtype, .surplus = 40});
    }
  }
}
TEST(CudaProjectedAttention, TakesOtherWidths) {
  expect_like_both({.lengths = {100, 128}, .heads = 1, .depth = 64, .normed = true});
  expect_like_both({.lengths = {31, 128, 99}, .heads = 5, .depth = 72});
  expect_like_both({.lengths = {128, 77}, .heads = 12, .depth = 768, .normed = true});
  expect_like_both({.lengths = {128}, .heads = 16, .depth = 1024, .normed = true, .dtype = DType::kBF16});
}
TEST(CudaProjectedAttention, WalksOverSeveralTilesOfABlock) {
  std::vector<int64_t> lengths(150, 128);
  for (size_t i = 0; i < lengths.size(); i += 3) lengths[i] = static_cast<int64_t>(1 + i * 37 % 128);
  expect_like_both({.lengths = lengths, .heads = 4, .depth = 192, .normed = true});
}
TEST(CudaProjectedAttention, HidesKeys) {
  expect_like_both({.lengths = {128, 90, 3, 70, 1}, .hidden = 2});
  expect_like_both({.lengths = {128, 100, 70}, .normed = true, .hidden = 66});
}

TEST(CudaProjectedAttention, DeclinesWithAReason) {
  Random random;
  ProjectedAttention step(random, {.lengths = {8}});
  Problem problem = step.problem;
  problem.before = nullptr;
  EXPECT_EQ(projected().supports(problem).reason, "no product stands ahead of it");
  problem = step.problem;
  problem.attrs.set("causal", int64_t{1});
  EXPECT_EQ(projected().supports(problem).reason, "keys are hidden by position");
  Problem product = *step.problem.before;
  product.attrs.set("activation", std::string("gelu"));
  problem = step.problem;
  problem.before = std::make_shared<const Problem>(product);
  EXPECT_EQ(projected().supports(problem).reason, "the product ahead has an activation");
}

}  // namespace
}  // namespace tenon::test
