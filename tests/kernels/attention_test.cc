#include <functional>
#include <numeric>

#include "tests/kernels/attention_step.h"

namespace tenon::test {
namespace {

using kernels::cpu::attention_bf16_kernel;
using kernels::cpu::attention_kernel;

TEST(AttentionKernel, AgreesWithReferenceAtOddShapes) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t head_dim : {1, 8, 20, 32, 64, 80}) {
    for (const auto& [q_len, k_len] : {std::pair<int64_t, int64_t>{1, 1}, {7, 7}, {1, 129}, {127, 128}, {200, 300}}) {
      SCOPED_TRACE(fmt::format("head_dim {}, {} queries, {} keys", head_dim, q_len, k_len));
      expect_like_reference(attention_kernel(), dense(random, {.heads = 2, .head_dim = head_dim}, 2, q_len, k_len),
                            kAllowed);
    }
  }
}

TEST(AttentionKernel, AgreesWithReferenceOnPackedRows) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t hidden : {0, 1}) {
    for (const int64_t surplus : {0, 5})
      expect_like_reference(attention_kernel(),
                            packed(random, {.heads = 3, .head_dim = 20},
                                   {.lengths = {1, 0, 17, 300, 64}, .hidden = hidden, .surplus = surplus}),
                            kAllowed);
  }
}

TEST(AttentionKernel, HidesByPosition) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const AttentionCase& f :
       {AttentionCase{.heads = 2, .head_dim = 8, .causal = true}, AttentionCase{.heads = 2, .head_dim = 8, .window = 3},
        AttentionCase{.heads = 2, .head_dim = 8, .causal = true, .window = 40}}) {
    expect_like_reference(attention_kernel(), dense(random, f, 2, 70, 150), kAllowed);
    expect_like_reference(attention_kernel(), packed(random, f, {.lengths = {5, 150, 33}, .surplus = 2}), kAllowed);
  }
}

TEST(AttentionKernel, BroadcastsTheBiasOverAnyAxes) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int axes = 0; axes < 16; ++axes) {
    SCOPED_TRACE(axes);
    std::vector<int64_t> shape{2, 3, 21, 140};
    for (size_t i = 0; i < 4; ++i)
      if (axes >> i & 1) shape[i] = 1;
    Step step = dense(random, {.heads = 3, .head_dim = 8}, 2, 21, 140);
    step.inputs.resize(8);
    step.inputs.push_back(random.tensor(DType::kF32, shape));
    expect_like_reference(attention_kernel(), step, kAllowed);
  }
}

TEST(AttentionKernel, ReadsThePackedBiasByOriginalPositions) {
  Random random;
  SCOPED_TRACE(random.trace());
  Step step = packed(random, {.heads = 2, .head_dim = 8}, {.lengths = {4, 30, 9}});
  std::vector<int32_t> positions(43);
  std::iota(positions.begin(), positions.begin() + 4, 11);  // left padding
  for (int32_t i = 0; i < 39; ++i) positions[static_cast<size_t>(4 + i)] = i < 30 ? i + 1 : 3 * (i - 30);  // and holes
  step.inputs[6] = step.inputs[7] = int32s(positions);
  step.inputs.push_back(random.tensor(DType::kF32, {1, 2, 31, 31}));
  expect_like_reference(attention_kernel(), step, kAllowed);
}

TEST(AttentionKernel, SharesKeyAndValueHeads) {
  Random random;
  SCOPED_TRACE(random.trace());
  expect_like_reference(attention_kernel(), dense(random, {.heads = 6, .kv_heads = 2, .head_dim = 8}, 2, 9, 11),
                        kAllowed);
  expect_like_reference(attention_kernel(),
                        packed(random, {.heads = 4, .kv_heads = 1, .head_dim = 16}, {.lengths = {20, 3}}), kAllowed);
}

TEST(AttentionKernel, NoVisibleKeyGivesZeros) {
  Random random;
  SCOPED_TRACE(random.trace());
  expect_like_reference(attention_kernel(), dense(random, {.heads = 2, .head_dim = 8}, 1, 5, 0), {});
  Step hidden = dense(random, {.heads = 2, .head_dim = 8}, 2, 3, 200);
  hidden.inputs.resize(8);
  hidden.inputs.push_back(filled(DType::kF32, {2, 1, 1, 200}, [](int64_t i) { return i < 200 ? -INFINITY : 0.0; }));
  expect_like_reference(attention_kernel(), hidden, kAllowed);
  expect_like_reference(attention_kernel(),
                        packed(random, {.heads = 2, .head_dim = 8}, {.lengths = {3, 3}, .hidden = 3}),
                        {});  // queries only
}

// The first keys are hidden, and later blocks are not: running statistics start from nothing.
TEST(AttentionKernel, SurvivesABlockWithoutVisibleKeys) {
  Random random;
  SCOPED_TRACE(random.trace());
  Step step = dense(random, {.heads = 1, .head_dim = 16}, 1, 20, 400);
  step.inputs.resize(8);
  step.inputs.push_back(filled(DType::kF32, {1, 1, 1, 400}, [](int64_t i) { return i < 260 ? -INFINITY : 0.5; }));
  expect_like_reference(attention_kernel(), step, kAllowed);
}

TEST(AttentionKernel, KeepsLargeScoresFinite) {
  Random random;
  SCOPED_TRACE(random.trace());
  Step step = dense(random, {.heads = 2, .head_dim = 8}, 1, 30, 200);
  for (size_t i = 0; i < 2; ++i) step.inputs[i] = random.tensor(DType::kF32, step.inputs[i]->shape(), -30, 30);
  expect_like_reference(attention_kernel(), step,
                        kAllowed * 200);  // scores of several hundreds are rounded before the exponential
}

// `rounded` makes of a step what the kernel takes.
template <class Rounded>
void expect_sequences_alone(const CpuKernel& kernel, Random& random, const AttentionCase& form, Rounded rounded) {
  const std::vector<int64_t> lengths{40, 1, 333, 128, 77};
  const Step together = rounded(packed(random, form, {.lengths = lengths, .surplus = 3}));
  for (const Isa isa : available_isas()) {
    const Tensor all = (*run_kernel(kernel, together, isa, 3))[0];
    int64_t first = 0;
    for (const int64_t length : lengths) {
      Step alone = packed(random, form, {.lengths = {length}});
      for (size_t i = 0; i < 3; ++i) alone.inputs[i] = rows_of(*together.inputs[0], first, first + length);
      const Tensor own = (*run_kernel(kernel, alone, isa, 1))[0];
      EXPECT_TRUE(own.same_bytes(rows_of(all, first, first + length))) << isa_name(isa) << ", length " << length;
      first += length;
    }
  }
}

TEST(AttentionKernel, ASequenceIsTheSameAloneAndPacked) {
  Random random;
  SCOPED_TRACE(random.trace());
  expect_sequences_alone(attention_kernel(), random, {.heads = 2, .head_dim = 24}, std::identity());
}

// Weights are rounded to bf16 before they are summed, as are the results.
const Tolerance kBf16Allowed = tolerance(DType::kBF16) * 2;

TEST(AttentionBf16Kernel, AgreesWithReferenceAtOddShapes) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t head_dim : {2, 20, 32, 64, 96}) {
    for (const auto& [q_len, k_len] :
         {std::pair<int64_t, int64_t>{1, 1}, {7, 7}, {1, 129}, {33, 31}, {127, 128}, {200, 300}, {5, 0}}) {
      SCOPED_TRACE(fmt::format("head_dim {}, {} queries, {} keys", head_dim, q_len, k_len));
      const Step step = dense(random, {.heads = 2, .head_dim = head_dim}, 2, q_len, k_len);
      expect_like_reference(attention_bf16_kernel(), in_bf16(step), kBf16Allowed);
    }
  }
}

TEST(AttentionBf16Kernel, AgreesWithReferenceInEveryForm) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t head_dim : {20, 64}) {
    for (const AttentionCase& f : {AttentionCase{.heads = 2, .head_dim = head_dim},
                                   AttentionCase{.heads = 4, .kv_heads = 2, .head_dim = head_dim},
                                   AttentionCase{.heads = 2, .head_dim = head_dim, .causal = true, .window = 40}}) {
      SCOPED_TRACE(fmt::format("head_dim {}, causal {}", head_dim, f.causal));
      expect_like_reference(attention_bf16_kernel(),
                            in_bf16(packed(random, f, {.lengths = {1, 0, 17, 300, 64}, .surplus = 5})), kBf16Allowed);
      Step biased = dense(random, f, 2, 21, 200);
      biased.inputs.resize(8);
      biased.inputs.push_back(
          filled(DType::kF32, {2, 1, 1, 200}, [](int64_t i) { return i % 200 < 140 ? -INFINITY : 0.5; }));
      expect_like_reference(attention_bf16_kernel(), in_bf16(biased, 8), kBf16Allowed);
    }
  }
}

TEST(AttentionBf16Kernel, ASequenceIsTheSameAloneAndPacked) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t head_dim : {24, 64})
    expect_sequences_alone(attention_bf16_kernel(), random, {.heads = 2, .head_dim = head_dim},
                           [](const Step& step) { return in_bf16(step); });
}

TEST(AttentionBf16Kernel, NotANumberSpoilsItsSequenceOnly) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t head_dim : {20, 32}) {
    Step step = in_bf16(packed(random, {.heads = 1, .head_dim = head_dim}, {.lengths = {9, 40}}));
    const auto width = static_cast<int64_t>(3 * head_dim);
    for (size_t i = 0; i < 3; ++i) step.inputs[i] = step.inputs[0];
    const_cast<uint16_t*>(step.inputs[0]->as<uint16_t>())[30 * width + head_dim] = 0x7fc0;  // a key of the second
    for (const Isa isa : available_isas()) {
      const Tensor y = (*run_kernel(attention_bf16_kernel(), step, isa, 1))[0];
      for (int64_t i = 0; i < y.numel(); ++i)
        ASSERT_EQ(std::isnan(y.at(i)), i >= 9 * head_dim) << isa_name(isa) << ", element " << i;
    }
  }
}

TEST(AttentionKernel, RefusesRowsAndPositionsThatAreNotThere) {
  Random random;
  Step rows = packed(random, {.heads = 1, .head_dim = 8}, {.lengths = {4, 5}});
  rows.inputs[5] = int32s({4, 10});
  expect_same_error(attention_kernel(), rows);
  Step positions = packed(random, {.heads = 1, .head_dim = 8}, {.lengths = {4, 5}});
  positions.inputs.push_back(random.tensor(DType::kF32, {1, 1, 4, 4}));
  expect_same_error(attention_kernel(), positions);
}

TEST(AttentionKernel, DeclinesOtherTypes) {
  Random random;
  const Tensor half = random.tensor(DType::kF16, {1, 3, 8});
  EXPECT_EQ(declined(attention_kernel(), {Op::k_attention, {half, half, half}, AttentionCase{.head_dim = 8}.attrs()}),
            "input 0 is not f32");
  const Tensor odd = random.tensor(DType::kBF16, {1, 3, 9});
  EXPECT_EQ(declined(attention_bf16_kernel(), {Op::k_attention, {odd, odd, odd}, AttentionCase{.head_dim = 9}.attrs()}),
            "rows of input 0 are not in pairs");
}

}  // namespace
}  // namespace tenon::test
