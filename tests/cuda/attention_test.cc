#include <numeric>

#include "tests/cuda/run_cuda_kernel.h"
#include "tests/kernels/attention_step.h"

namespace tenon::test {
namespace {

using kernels::CudaKernel;
using kernels::Kernel;

const CudaKernel& portable() { return *kernels::cuda::attention_sm80_kernel().as_cuda(); }
const CudaKernel& hopper() { return *kernels::cuda::attention_sm90_kernel().as_cuda(); }
const CudaKernel& row() { return *kernels::cuda::attention_row_kernel().as_cuda(); }
const std::vector<const CudaKernel*> kAll{&portable(), &hopper(), &row()};

// Probabilities are rounded to the element type before they multiply the values.
Tolerance allowed(DType dtype) { return tolerance(dtype) * 3; }

void expect_all_like_reference(const Step& step, double factor = 1) {
  for (const CudaKernel* kernel : kAll) {
    const auto built = build(step);
    ASSERT_TRUE(built.ok()) << built.status().message();
    if (kernel != &portable() && !kernel->supports((*built)->problem)) continue;
    expect_like_reference(*kernel, step, allowed(step.inputs[0]->dtype()) * factor);
  }
}

const CudaKernel& in_f32() { return *kernels::cuda::attention_f32_kernel().as_cuda(); }

// The kernel that multiplies in f32 takes what the others leave: f32, and other head sizes.
TEST(CudaAttentionF32, AgreesWithReferenceInEveryType) {
  Random random;
  SCOPED_TRACE(random.trace());
  using HeadsAndSize = std::pair<int64_t, int64_t>;
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const auto& [heads, head_dim] : {HeadsAndSize{4, 8}, {3, 24}, {2, 40}, {1, 128}, {2, 64}}) {
      SCOPED_TRACE(fmt::format("{} {} heads of {}", dtype_name(dtype), heads, head_dim));
      const Tolerance within = tolerance(dtype) * (dtype == DType::kF32 ? 8 : 3);
      const AttentionCase form{.dtype = dtype, .heads = heads, .head_dim = head_dim};
      expect_like_reference(in_f32(), packed(random, form, {.lengths = {40, 129, 0, 1, 7}, .hidden = 2, .surplus = 3}),
                            within);
      Step biased = dense(random, {.dtype = dtype, .heads = heads, .head_dim = head_dim, .causal = true}, 2, 21, 70);
      biased.inputs.resize(8);
      biased.inputs.push_back(random.tensor(random.chance(0.5) ? DType::kF32 : dtype, {1, heads, 21, 70}));
      expect_like_reference(in_f32(), biased, within);
    }
  }
}

class CudaAttention : public testing::TestWithParam<DType> {
 protected:
  Random random_;
};
INSTANTIATE_TEST_SUITE_P(Types, CudaAttention, testing::Values(DType::kF16, DType::kBF16),
                         [](const auto& type) { return std::string(dtype_name(type.param)); });

TEST_P(CudaAttention, AgreesWithReferenceAtEveryLength) {
  SCOPED_TRACE(random_.trace());
  for (const int64_t length : {1, 7, 31, 64, 65, 127, 128, 129, 384, 513}) {
    SCOPED_TRACE(length);
    expect_all_like_reference(packed(random_, {.dtype = GetParam(), .heads = 2}, {.lengths = {length}}));
  }
}

TEST_P(CudaAttention, AgreesWithReferenceOnMixedBatches) {
  SCOPED_TRACE(random_.trace());
  const Packing mixed{.lengths = {0, 1, 300, 0, 0, 17, 64, 129, 5, 3, 2, 0}, .hidden = 0, .surplus = 77};
  expect_all_like_reference(packed(random_, {.dtype = GetParam(), .heads = 12}, mixed));
  std::vector<int64_t> many(1100, 1);  // more sequences than one step of the search tells apart
  many[40] = many[1000] = 50;
  expect_all_like_reference(packed(random_, {.dtype = GetParam(), .heads = 1}, {.lengths = many}));
}

TEST_P(CudaAttention, AgreesWithReferenceInEveryHeadSize) {
  SCOPED_TRACE(random_.trace());
  using HeadsAndSize = std::pair<int64_t, int64_t>;
  for (const auto& [heads, head_dim] : {HeadsAndSize{4, 32}, {2, 128}, {1, 16}, {3, 80}, {2, 96}, {12, 64}}) {
    SCOPED_TRACE(fmt::format("{} heads of {}", heads, head_dim));
    expect_all_like_reference(packed(random_, {.dtype = GetParam(), .heads = heads, .head_dim = head_dim},
                                     {.lengths = {40, 129, 1}, .surplus = 3}));
  }
}

TEST_P(CudaAttention, KeysBehindHolesAreHidden) {
  SCOPED_TRACE(random_.trace());
  const AttentionCase form{.dtype = GetParam(), .heads = 2};
  for (const int64_t hidden : {1, 2, 70})
    expect_all_like_reference(packed(random_, form, {.lengths = {100, 3, 200}, .hidden = hidden}));
  Step inside = packed(random_, form, {.lengths = {100, 150}});
  inside.inputs[4] = int32s({3, 120});
  inside.inputs[5] = int32s({90, 249});
  expect_all_like_reference(inside);
}

TEST_P(CudaAttention, NoVisibleKeyGivesZeros) {
  SCOPED_TRACE(random_.trace());
  const AttentionCase form{.dtype = GetParam(), .heads = 2};
  expect_all_like_reference(packed(random_, form, {.lengths = {3, 0, 80}, .hidden = 80}));
  expect_all_like_reference(dense(random_, form, 1, 5, 0));
  Step hidden = dense(random_, form, 2, 3, 200);
  hidden.inputs.resize(8);
  hidden.inputs.push_back(filled(DType::kF32, {2, 1, 1, 200}, [](int64_t i) { return i < 200 ? -INFINITY : 0.0; }));
  expect_all_like_reference(hidden);
}

TEST_P(CudaAttention, AgreesWithReferenceOnDenseRows) {
  SCOPED_TRACE(random_.trace());
  for (const auto& [q_len, k_len] : {std::pair<int64_t, int64_t>{1, 1}, {7, 7}, {1, 129}, {127, 128}, {200, 300}}) {
    SCOPED_TRACE(fmt::format("{} queries, {} keys", q_len, k_len));
    expect_all_like_reference(dense(random_, {.dtype = GetParam(), .heads = 2}, 3, q_len, k_len));
  }
}

TEST_P(CudaAttention, SharesKeyAndValueHeads) {
  SCOPED_TRACE(random_.trace());
  expect_all_like_reference(dense(random_, {.dtype = GetParam(), .heads = 6, .kv_heads = 2}, 2, 9, 11));
  expect_all_like_reference(
      packed(random_, {.dtype = GetParam(), .heads = 4, .kv_heads = 1}, {.lengths = {20, 130, 3}}));
}

// The first row of each sequence is the only query: what the last layer computes for a classifier.
TEST_P(CudaAttention, ReadsQueriesOfAnotherMatrix) {
  SCOPED_TRACE(random_.trace());
  const AttentionCase form{.dtype = GetParam(), .heads = 3};
  Step step = packed(random_, form, {.lengths = {20, 1, 300, 64}});
  step.inputs[0] = random_.tensor(GetParam(), {4, 192});
  step.inputs[3] = int32s({0, 1, 2, 3, 4});
  step.inputs[6] = int32s({0, 0, 0, 0});
  ASSERT_TRUE(row().supports((*build(step))->problem));
  expect_all_like_reference(step);
  step.inputs[3] = int32s({0, 1, 1, 3, 3});  // two queries, none, and a row of no sequence
  expect_all_like_reference(step);
  step.inputs.resize(8);
  step.inputs.push_back(random_.tensor(GetParam(), {1, 3, 1, 300}));
  expect_all_like_reference(step);
  for (const int64_t head_dim : {16, 32, 128}) {
    expect_all_like_reference(
        dense(random_, {.dtype = GetParam(), .heads = 4, .kv_heads = 2, .head_dim = head_dim}, 3, 1, 77));
  }
  expect_all_like_reference(dense(random_, {.dtype = GetParam(), .heads = 2, .causal = true}, 2, 1, 130));
}

TEST_P(CudaAttention, HidesByPosition) {
  SCOPED_TRACE(random_.trace());
  for (const AttentionCase& f : {AttentionCase{.dtype = GetParam(), .heads = 2, .causal = true},
                                 AttentionCase{.dtype = GetParam(), .heads = 2, .window = 3},
                                 AttentionCase{.dtype = GetParam(), .heads = 2, .causal = true, .window = 40}}) {
    expect_all_like_reference(dense(random_, f, 2, 70, 150));
    expect_all_like_reference(packed(random_, f, {.lengths = {5, 150, 33}, .surplus = 2}));
  }
}

TEST_P(CudaAttention, BroadcastsTheBiasOverAnyAxes) {
  SCOPED_TRACE(random_.trace());
  for (const int axes : {0, 1, 2, 3, 4, 8, 13, 15}) {
    SCOPED_TRACE(axes);
    std::vector<int64_t> shape{2, 3, 21, 140};
    for (size_t i = 0; i < 4; ++i)
      if (axes >> i & 1) shape[i] = 1;
    Step step = dense(random_, {.dtype = GetParam(), .heads = 3}, 2, 21, 140);
    step.inputs.resize(8);
    step.inputs.push_back(random_.tensor(axes % 2 == 0 ? DType::kF32 : GetParam(), shape));
    expect_all_like_reference(step);
  }
}

TEST_P(CudaAttention, ReadsThePackedBiasByOriginalPositions) {
  SCOPED_TRACE(random_.trace());
  Step step = packed(random_, {.dtype = GetParam(), .heads = 2}, {.lengths = {4, 30, 9}});
  std::vector<int32_t> positions(43);
  std::iota(positions.begin(), positions.begin() + 4, 11);  // left padding
  for (int32_t i = 0; i < 39; ++i) positions[static_cast<size_t>(4 + i)] = i < 30 ? i + 1 : 3 * (i - 30);  // and holes
  step.inputs[6] = step.inputs[7] = int32s(positions);
  step.inputs.push_back(random_.tensor(GetParam(), {1, 2, 31, 31}));
  expect_all_like_reference(step);
}

TEST_P(CudaAttention, KeepsLargeScoresFinite) {
  SCOPED_TRACE(random_.trace());
  Step step = packed(random_, {.dtype = GetParam(), .heads = 2}, {.lengths = {200, 30}});
  for (size_t i = 0; i < 2; ++i) {
    const Tensor x = *step.inputs[i];
    step.inputs[i] = filled(GetParam(), x.shape(), [&](int64_t j) { return 10 * x.at(j); });
  }
  expect_all_like_reference(step, 2);
}

// Each block of keys has greater scores than all before: what is summed so far is rescaled again and again.
TEST_P(CudaAttention, FollowsScoresThatRise) {
  SCOPED_TRACE(random_.trace());
  Step step = packed(random_, {.dtype = GetParam(), .heads = 2}, {.lengths = {500, 130}});
  const Tensor x = *step.inputs[1];
  const int64_t width = x.shape()[1];
  step.inputs[0] = filled(GetParam(), x.shape(), [&](int64_t j) { return std::abs(x.at(j)); });
  step.inputs[1] =
      filled(GetParam(), x.shape(), [&](int64_t j) { return std::abs(x.at(j)) * static_cast<double>(j / width) / 40; });
  expect_all_like_reference(step, 2);
}

TEST_P(CudaAttention, ConfigsOfOneTagGiveTheSameBits) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  SCOPED_TRACE(random_.trace());
  const Step step = packed(random_, {.dtype = GetParam(), .heads = 3}, {.lengths = {400, 1, 129, 64}, .surplus = 5});
  const auto built = build(step);
  std::map<std::string, Tensor> results;
  for (const kernels::Config& config : hopper().configs((*built)->problem)) {
    SCOPED_TRACE(config.text);
    const Tensor y = (*run_cuda_kernel(hopper(), step, config))[0];
    EXPECT_TRUE(results.emplace(config.numerics, y).first->second.same_bytes(y));
  }
}

// Sequences alone, in a batch, and beside NaN.
TEST_P(CudaAttention, ASequenceDoesNotDependOnItsNeighbours) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  SCOPED_TRACE(random_.trace());
  const std::vector<int64_t> lengths{40, 1, 333, 128, 77, 200};
  const AttentionCase form{.dtype = GetParam(), .heads = 2};
  const Step together = packed(random_, form, {.lengths = lengths, .surplus = 3});
  for (const CudaKernel* kernel : {&portable(), &hopper()}) {
    const auto built = build(together);
    for (const kernels::Config& config : kernel->configs((*built)->problem)) {
      const Tensor all = (*run_cuda_kernel(*kernel, together, config))[0];
      int64_t first = 0;
      for (const int64_t length : lengths) {
        SCOPED_TRACE(fmt::format("{} {}, length {}", kernel->id(), config.text, length));
        Step alone = packed(random_, form, {.lengths = {length}});
        Step beside_nan = together;
        const Tensor& rows = *together.inputs[0];
        const int64_t width = rows.shape()[1];
        const auto own = [&](int64_t i) { return i / width >= first && i / width < first + length; };
        const Tensor others = filled(form.dtype, rows.shape(), [&](int64_t i) { return own(i) ? rows.at(i) : kNan; });
        for (size_t i = 0; i < 3; ++i) {
          alone.inputs[i] = rows_of(rows, first, first + length);
          beside_nan.inputs[i] = others;
        }
        const Tensor expected = rows_of(all, first, first + length);
        EXPECT_TRUE((*run_cuda_kernel(*kernel, alone, config))[0].same_bytes(expected)) << "alone";
        const Tensor nan = (*run_cuda_kernel(*kernel, beside_nan, config))[0];
        EXPECT_TRUE(rows_of(nan, first, first + length).same_bytes(expected)) << "beside NaN";
        first += length;
      }
    }
  }
}

TEST(CudaAttentionForms, OthersAreDeclinedByName) {
  Random random;
  const auto reason = [&](const Step& step) { return portable().supports((*build(step))->problem).reason; };
  EXPECT_EQ(reason(dense(random, {.dtype = DType::kF32}, 1, 3, 3)), "input 0 is neither f16 nor bf16");
  EXPECT_EQ(reason(dense(random, {.dtype = DType::kF16, .head_dim = 24}, 1, 3, 3)),
            "head_dim 24 is not a multiple of 16 up to 128");
  const auto hopper_reason = [&](const AttentionCase& form) {
    return hopper().supports((*build(dense(random, form, 1, 3, 3)))->problem).reason;
  };
  EXPECT_EQ(hopper_reason({.dtype = DType::kF16, .head_dim = 48}), "head_dim 48 is not 32, 64, 96 or 128");
  EXPECT_EQ(hopper_reason({.dtype = DType::kF16, .causal = true}), "keys are hidden by position");
  EXPECT_EQ(reason(dense(random, {.dtype = DType::kF16, .head_dim = 20}, 1, 3, 3)),
            "rows or columns of input 0 are no multiples of 8");
}

}  // namespace
}  // namespace tenon::test
