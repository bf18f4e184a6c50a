#include "tests/kernels/conv_step.h"

namespace tenon::test {
namespace {

using kernels::cpu::conv_bf16_kernel;
using kernels::cpu::conv_int8_kernel;
using kernels::cpu::conv_kernel;

const std::vector<ConvCase> kNarrowConvCases{
    {{7, 9}, 2, 17, 33, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
    {{8, 8}, 1, 64, 50, 1, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}},
    {{7, 7}, 1, 129, 127, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {{12, 5}, 3, 20, 16, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1, 0, 1}},
    {{11, 13}, 1, 3, 7, 1, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},
    {{1, 1}, 1, 1, 1, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
    {{40}, 2, 30, 31, 1, {3}, {2}, {1}, {1, 1}},
    {{4, 5, 6}, 1, 5, 18, 1, {2, 3, 2}, {1, 2, 1}, {1, 1, 2}, {1, 1, 0, 0, 1, 2}},
    {{2, 2}, 1, 16, 9, 1, {3, 3}, {1, 1}, {1, 1}, {4, 4, 4, 4}},
    {{30, 41}, 1, 8, 16, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},  // several chunks of rows
};

// The step with images of this type and factors of 8 bits.
Step in_int8(Step step, DType images) {
  if (images == DType::kBF16) step = in_bf16(std::move(step), 1);
  step.attrs.set("factors", std::string("int8"));
  return step;
}

TEST(NarrowConvKernel, AgreesWithReferenceInEveryGeometry) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (size_t i = 0; i < kNarrowConvCases.size(); ++i) {
    SCOPED_TRACE(i);
    const bool of_sum = random.chance(0.5), residual = of_sum || random.chance(0.5);
    const Step step =
        step_of(random, kNarrowConvCases[i], random.pick(std::vector<std::string>{"", "relu", "hard_swish"}),
                random.chance(0.5), residual, of_sum);
    expect_like_reference(conv_bf16_kernel(), in_bf16(step), tolerance(DType::kBF16) * 2);
    expect_like_reference(conv_int8_kernel(), in_int8(step, DType::kF32), for_sum_of(step));
    expect_like_reference(conv_int8_kernel(), in_int8(step, DType::kBF16), tolerance(DType::kBF16) * 2);
  }
}

// Rounding to 8 bits errs by half a step of each factor at most.
TEST(NarrowConvKernel, EightBitsAreNearTheProduct) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Step step = step_of(random, kNarrowConvCases[2], "", true, false, false);
  const Tensor exact = (*run_op(step.op, step.inputs, step.attrs))[0];
  const Tensor rounded = (*run_kernel(conv_int8_kernel(), in_int8(step, DType::kF32), available_isas().front(), 2))[0];
  double error = 0, size = 0;
  for (int64_t i = 0; i < exact.numel(); ++i) {
    error += std::pow(exact.at(i) - rounded.at(i), 2);
    size += std::pow(exact.at(i), 2);
  }
  EXPECT_LT(std::sqrt(error / size), 0.01);
  EXPECT_GT(error, 0);
}

TEST(NarrowConvKernel, AnImageIsTheSameAloneInAnyBatchAndOverItsResidual) {
  Random random;
  SCOPED_TRACE(random.trace());
  const ConvCase c{{9, 7}, 4, 40, 70, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}};
  const Step plain = step_of(random, c, "relu", true, true, true);
  const std::pair<const CpuKernel&, Step> both[] = {{conv_bf16_kernel(), in_bf16(plain)},
                                                    {conv_int8_kernel(), in_int8(plain, DType::kBF16)}};
  for (const auto& [kernel, whole] : both) {
    ASSERT_TRUE(kernel.in_place((*build(whole))->problem, 3));
    for (const Isa isa : available_isas()) {
      SCOPED_TRACE(fmt::format("{} {}", kernel.id(), isa_name(isa)));
      const Tensor all = (*run_kernel(kernel, whole, isa, 2))[0];
      EXPECT_TRUE((*run_kernel(kernel, whole, isa, 2, "", 3))[0].same_bytes(all));
      for (int64_t image = 0; image < c.batch; ++image) {
        Step part = whole;
        part.inputs[0] = rows_of(*whole.inputs[0], image, image + 1);
        part.inputs[3] = rows_of(*whole.inputs[3], image, image + 1);
        EXPECT_TRUE((*run_kernel(kernel, part, isa, 1))[0].same_bytes(rows_of(all, image, image + 1))) << image;
      }
    }
  }
}

TEST(NarrowConvKernel, DeclinesWithAReason) {
  Random random;
  Step step = step_of(random, kNarrowConvCases[0], "", false, false, false);
  EXPECT_EQ(declined(conv_bf16_kernel(), step), "input 0 is f32, bf16 is needed");
  EXPECT_EQ(declined(conv_int8_kernel(), step), "factors of 8 bits are not asked for");
  const Step int8 = in_int8(step, DType::kF32);
  EXPECT_EQ(declined(conv_kernel(), int8), "factors of 8 bits are asked for");
  EXPECT_EQ(declined(conv_bf16_kernel(), int8), "factors of 8 bits are asked for");
  EXPECT_EQ(declined(conv_int8_kernel(), int8), "");
  ConvCase grouped = kNarrowConvCases[1];
  grouped.groups = 2;
  EXPECT_EQ(declined(conv_bf16_kernel(), in_bf16(step_of(random, grouped, "", false, false, false))),
            "filters are in groups");
  step.attrs.set("factors", std::string("int4"));
  EXPECT_THAT(declined(conv_int8_kernel(), step), testing::HasSubstr("unknown factors 'int4'"));
}

// Grouped convolutions have no kernel of 8 bits; the plain loop takes each group's rows by themselves.
TEST(NarrowConvKernel, ThePlainLoopRoundsGroupByGroup) {
  Random random;
  SCOPED_TRACE(random.trace());
  const ConvCase c{{5, 6}, 2, 8, 6, 2, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}};
  const Step step = in_int8(step_of(random, c, "", false, false, false), DType::kF32);
  const Tensor both = (*run_op(step.op, step.inputs, step.attrs))[0];
  for (int64_t group = 0; group < 2; ++group) {
    const auto half = [&](const Tensor& t, int64_t count) {
      return filled(DType::kF32, {t.numel() / (2 * count), count},
                    [&](int64_t i) { return t.at(i / count * 2 * count + group * count + i % count); });
    };
    Step own = step;
    own.attrs.set("group", int64_t{1});
    const Tensor x = half(*step.inputs[0], 4);
    own.inputs[0] = filled(DType::kF32, {2, 5, 6, 4}, [&](int64_t i) { return x.at(i); });
    own.inputs[1] = rows_of(*step.inputs[1], 3 * group, 3 * group + 3);
    const Tensor alone = (*run_op(own.op, own.inputs, own.attrs))[0], part = half(both, 3);
    for (int64_t i = 0; i < part.numel(); ++i) ASSERT_EQ(part.at(i), alone.at(i)) << i;
  }
}

}  // namespace
}  // namespace tenon::test
