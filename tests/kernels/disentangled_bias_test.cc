#include "tests/kernels/disentangled_bias_step.h"

namespace tenon::test {
namespace {

using kernels::cpu::disentangled_bias_kernel;

TEST(DisentangledBiasKernel, AgreesWithReferenceAtOddShapes) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t head_dim : {1, 7, 32, 64}) {
    for (const auto& [q_len, k_len] : {std::pair<int64_t, int64_t>{1, 1}, {7, 7}, {1, 129}, {33, 65}, {127, 31}}) {
      for (const int64_t table_rows : {1, 16, 300}) {
        SCOPED_TRACE(fmt::format("{} x {} of {}, {} rows", q_len, k_len, head_dim, table_rows));
        expect_like_reference(disentangled_bias_kernel(),
                              dense_bias(random, {.head_dim = head_dim, .table_rows = table_rows}, 2, q_len, k_len),
                              kAllowed);
      }
    }
  }
}

TEST(DisentangledBiasKernel, TakesEitherTableAndAnyIndex) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const auto& [by_query, by_key] : {std::pair{true, false}, {false, true}, {true, true}}) {
    const DisentangledCase c{.heads = 3, .head_dim = 8, .by_query = by_query, .by_key = by_key, .scattered = true};
    expect_like_reference(disentangled_bias_kernel(), dense_bias(random, c, 2, 40, 50), kAllowed);
    expect_like_reference(disentangled_bias_kernel(), packed_bias(random, c, {.lengths = {3, 70}}), kAllowed);
  }
}

TEST(DisentangledBiasKernel, AgreesWithReferenceOnPackedRows) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t hidden : {0, 1})
    for (const int32_t gap : {1, 3})
      expect_like_reference(disentangled_bias_kernel(),
                            packed_bias(random, {.heads = 3, .head_dim = 20, .table_rows = 100},
                                        {.lengths = {1, 0, 17, 100, 64}, .hidden = hidden, .surplus = 5}, gap),
                            kAllowed);
  expect_like_reference(disentangled_bias_kernel(),
                        packed_bias(random, {.head_dim = 8}, {.lengths = {3, 1, 0}, .hidden = 1}), kAllowed);
}

TEST(DisentangledBiasKernel, RefusesWhatIsNotThere) {
  Random random;
  const Step good = packed_bias(random, {.head_dim = 8}, {.lengths = {5, 6}});
  Step step = good;
  step.inputs[3] = filled(DType::kI32, good.inputs[3]->shape(), [](int64_t i) { return i == 9 ? 40 : 0; });
  expect_same_error(disentangled_bias_kernel(), step);
  step = good;
  step.inputs[5] = filled(DType::kI32, good.inputs[5]->shape(), [](int64_t i) { return i == 9 ? -1 : 0; });
  expect_same_error(disentangled_bias_kernel(), step);
  step = good;
  step.inputs[8] = int32s({5, 12});
  expect_same_error(disentangled_bias_kernel(), step);
  step = good;
  step.inputs[10] = filled(DType::kI32, good.inputs[10]->shape(), [](int64_t i) { return i == 3 ? 99 : 0; });
  expect_same_error(disentangled_bias_kernel(), step);
}

TEST(DisentangledBiasKernel, SaysWhatItDeclines) {
  Random random;
  Step step = dense_bias(random, {.head_dim = 8}, 1, 4, 4);
  step.constants = {2};
  EXPECT_THAT(declined(disentangled_bias_kernel(), step), testing::HasSubstr("input 4 is not constant"));
  EXPECT_THAT(declined(disentangled_bias_kernel(), in_bf16(step)), testing::HasSubstr("f32 only"));
}

}  // namespace
}  // namespace tenon::test
