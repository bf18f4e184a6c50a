#include "tests/kernels/conv_step.h"

namespace tenon::test {
namespace {

using kernels::cpu::conv_kernel;
using kernels::cpu::depthwise_conv_kernel;
using kernels::cpu::pool_kernel;
using kernels::cpu::reduce_kernel;
using kernels::cpu::transpose_kernel;

const std::vector<ConvCase> kConvCases{
    {{7, 9}, 2, 17, 33, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
    {{8, 8}, 1, 64, 50, 1, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}},
    {{7, 7}, 1, 129, 127, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {{12, 5}, 3, 20, 16, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1, 0, 1}},
    {{29, 30}, 1, 3, 64, 1, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}},  // a first layer: taps in one piece
    {{9, 6}, 2, 3, 5, 1, {5, 4}, {1, 3}, {2, 1}, {4, 2, 4, 3}},     // pieces wider than what is left of the image
    {{11, 13}, 1, 3, 7, 1, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},   // dilated: in no piece
    {{5, 6}, 1, 1, 1, 1, {2, 3}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
    {{10, 7}, 2, 24, 40, 4, {3, 3}, {1, 2}, {1, 1}, {1, 1, 1, 1}},  // groups
    {{6, 6}, 1, 8, 4, 4, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {{3, 3}, 1, 1100, 20, 1, {2, 1}, {1, 1}, {1, 1}, {1, 0, 0, 0}},  // pieces longer than a block of k
    {{40}, 2, 30, 31, 1, {3}, {2}, {1}, {1, 1}},                     // one axis
    {{4, 5, 6}, 1, 5, 18, 1, {2, 3, 2}, {1, 2, 1}, {1, 1, 2}, {1, 1, 0, 0, 1, 2}},
    {{2, 2}, 1, 16, 9, 1, {3, 3}, {1, 1}, {1, 1}, {4, 4, 4, 4}},  // windows that lie in the padding alone
};

TEST(ConvKernel, AgreesWithReferenceInEveryGeometry) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (size_t i = 0; i < kConvCases.size(); ++i) {
    SCOPED_TRACE(i);
    const Step step = step_of(random, kConvCases[i], "", random.chance(0.5), random.chance(0.5), false);
    expect_like_reference(conv_kernel(), step, for_sum_of(step));
  }
}

TEST(ConvKernel, AppliesEveryActivationBeforeOrAfterTheResidual) {
  Random random;
  SCOPED_TRACE(random.trace());
  const ConvCase c{{5, 6}, 1, 20, 37, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}};
  for (const char* activation : {"relu", "gelu", "gelu_tanh", "gelu_sigmoid", "tanh", "sigmoid", "silu", "relu6",
                                 "hard_sigmoid", "hard_swish"}) {
    SCOPED_TRACE(activation);
    for (const bool of_sum : {false, true}) {
      const Step step = step_of(random, c, activation, true, true, of_sum);
      expect_like_reference(conv_kernel(), step, for_sum_of(step));
    }
  }
}

TEST(ConvKernel, AnImageIsTheSameAloneAndInAnyBatch) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const ConvCase& c : {ConvCase{{9, 7}, 5, 40, 70, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
                            ConvCase{{13, 15}, 4, 3, 20, 1, {5, 5}, {2, 2}, {1, 1}, {2, 2, 2, 2}}}) {
    const Step whole = step_of(random, c, "relu", true, true, true);
    for (const Isa isa : available_isas()) {
      const Tensor all = (*run_kernel(conv_kernel(), whole, isa, 2))[0];
      for (int64_t image = 0; image < c.batch; ++image) {
        Step part = whole;
        part.inputs[0] = rows_of(*whole.inputs[0], image, image + 1);
        part.inputs[3] = rows_of(*whole.inputs[3], image, image + 1);
        const Tensor one = (*run_kernel(conv_kernel(), part, isa, 1))[0];
        EXPECT_TRUE(one.same_bytes(rows_of(all, image, image + 1))) << isa_name(isa) << ", image " << image;
      }
    }
  }
}

TEST(ConvKernel, WritesOverItsResidualWhereItSaysSo) {
  Random random;
  SCOPED_TRACE(random.trace());
  size_t in_place = 0;
  for (const ConvCase& c : kConvCases) {
    const Step step = step_of(random, c, random.pick(std::vector<std::string>{"relu", "silu"}), true, true, true);
    if (!conv_kernel().in_place((*build(step))->problem, 3)) continue;
    ++in_place;
    for (const Isa isa : available_isas())
      EXPECT_TRUE((*run_kernel(conv_kernel(), step, isa, 2, "", 3))[0].same_bytes(
          (*run_kernel(conv_kernel(), step, isa, 1))[0]));
  }
  EXPECT_GT(in_place, 3u);
  EXPECT_LT(in_place, kConvCases.size());
}

TEST(ConvKernel, PropagatesNan) {
  Random random;
  Step step = step_of(random, kConvCases[2], "relu", true, false, false);
  const Tensor x = *step.inputs[0];
  step.inputs[0] = filled(DType::kF32, x.shape(), [&](int64_t i) { return i == 2000 ? NAN : x.at(i); });
  expect_like_reference(conv_kernel(), step, for_sum_of(step));
}

TEST(ConvKernel, DeclinesWithAReason) {
  Random random;
  Step step = step_of(random, kConvCases[0], "", false, false, false);
  step.attrs.set("channels_last", int64_t{0});
  step.inputs[0] = random.tensor(DType::kF32, {2, 17, 7, 9});
  EXPECT_EQ(declined(conv_kernel(), step), "the channels are not last");
  step = step_of(random, kConvCases[0], "", false, false, false);
  step.constants = {};
  EXPECT_EQ(declined(conv_kernel(), step), "the weights are computed when run");
  EXPECT_EQ(declined(conv_kernel(), in_bf16(step)), "input 0 is bf16, f32 is needed");
  step.constants = {1};
  EXPECT_EQ(declined(depthwise_conv_kernel(), step), "channels and filters are not one to one");
}

TEST(DepthwiseConvKernel, AgreesWithReferenceInEveryGeometry) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t kernel : {1, 3, 5, 7}) {
    for (const int64_t stride : {1, 2}) {
      for (const int64_t channels : {1, 7, 32, 129}) {
        SCOPED_TRACE(fmt::format("{} x {}, stride {}, {} channels", kernel, kernel, stride, channels));
        const int64_t pad = kernel / 2;
        const ConvCase c{{random.integer(kernel, 12), random.integer(kernel, 12)},
                         random.integer(1, 2),
                         channels,
                         channels,
                         channels,
                         {kernel, kernel},
                         {stride, stride},
                         {1, 1},
                         {pad, pad, pad, pad}};
        const Step step = step_of(random, c, random.pick(std::vector<std::string>{"", "relu6", "hard_swish"}),
                                  random.chance(0.5), random.chance(0.5), random.chance(0.5));
        expect_like_reference(depthwise_conv_kernel(), step, for_sum_of(step));
      }
    }
  }
}

TEST(PoolKernel, AgreesWithReferenceInEveryGeometry) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const ConvCase& c : kConvCases) {
    std::vector<int64_t> shape{c.batch};
    shape.insert(shape.end(), c.image.begin(), c.image.end());
    shape.push_back(std::min<int64_t>(c.channels, 40));
    const Tensor x = random.tensor(DType::kF32, shape, -1, 1);
    for (const Op op : {Op::k_max_pool, Op::k_average_pool}) {
      SCOPED_TRACE(ir::op_name(op));
      Attrs attrs{{"kernel_shape", c.kernel},
                  {"strides", c.strides},
                  {"dilations", c.dilations},
                  {"pads", ir::to_shape(c.pads)},
                  {"ceil_mode", int64_t{random.chance(0.5)}},
                  {"channels_last", int64_t{1}}};
      if (op == Op::k_average_pool) attrs.set("count_include_pad", int64_t{random.chance(0.5)});
      expect_like_reference(pool_kernel(), {op, {x}, attrs}, kAllowed);
    }
  }
}

TEST(PoolKernel, TheGreatestIsNanWhereOneIs) {
  const Tensor x = filled(DType::kF32, {1, 3, 3, 2}, [](int64_t i) { return i == 8 ? NAN : static_cast<double>(-i); });
  expect_like_reference(
      pool_kernel(),
      {Op::k_max_pool, {x}, {{"kernel_shape", std::vector<int64_t>{2, 2}}, {"channels_last", int64_t{1}}}}, kAllowed);
}

TEST(ReduceKernel, ReducesAxesBeforeTheLast) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Op op : {Op::k_reduce_mean, Op::k_reduce_sum, Op::k_reduce_max, Op::k_reduce_min}) {
    SCOPED_TRACE(ir::op_name(op));
    for (const int64_t keep : {0, 1})
      expect_like_reference(reduce_kernel(),
                            {op,
                             {random.tensor(DType::kF32, {2, 7, 5, 300}, -1, 1)},
                             {{"axes", std::vector<int64_t>{1, 2}}, {"keepdims", keep}}},
                            kAllowed);
  }
}

TEST(TransposeKernel, MovesChannelsEitherWay) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : {DType::kF32, DType::kI64}) {
    const Tensor x = random.tensor(dtype, {2, 3, 19, 23});
    for (const std::vector<int64_t>& perm : {std::vector<int64_t>{0, 2, 3, 1}, {0, 3, 1, 2}, {3, 2, 1, 0}})
      expect_like_reference(transpose_kernel(), {Op::k_transpose, {x}, {{"perm", perm}}}, Tolerance{});
  }
}

}  // namespace
}  // namespace tenon::test
