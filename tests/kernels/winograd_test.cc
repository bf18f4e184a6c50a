#include "kernels/cpu/winograd.h"

#include "tests/kernels/conv_step.h"

namespace tenon::test {
namespace {

using kernels::cpu::winograd_conv_kernel;
using kernels::cpu::WinogradKernel;

const WinogradKernel& anywhere(int outputs) {
  static const WinogradKernel two(2, true), four(4, true);
  return outputs == 2 ? two : four;
}

ConvCase three_by_three(std::vector<int64_t> image, int64_t batch, int64_t channels, int64_t filters,
                        std::vector<int64_t> pads) {
  return {std::move(image), batch, channels, filters, 1, {3, 3}, {1, 1}, {1, 1}, std::move(pads)};
}

// The transforms of the larger tiles round values some times as large as the result.
Tolerance tile_tolerance(const Step& step, int outputs) { return for_sum_of(step) * (outputs == 4 ? 3 : 1); }

const std::vector<ConvCase> kWinogradCases{
    three_by_three({1, 1}, 1, 1, 1, {1, 1, 1, 1}),     three_by_three({3, 3}, 2, 3, 17, {0, 0, 0, 0}),
    three_by_three({7, 7}, 1, 129, 127, {1, 1, 1, 1}), three_by_three({14, 13}, 3, 17, 64, {1, 1, 1, 1}),
    three_by_three({5, 9}, 1, 64, 50, {0, 1, 2, 0}),   three_by_three({2, 2}, 1, 16, 9, {4, 4, 4, 4}),
    three_by_three({40, 37}, 1, 5, 33, {1, 0, 0, 1}),  // several blocks
    three_by_three({4, 4}, 90, 8, 16, {1, 1, 1, 1}),
};

TEST(WinogradKernel, AgreesWithReferenceInEveryGeometry) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int outputs : {2, 4}) {
    for (size_t i = 0; i < kWinogradCases.size(); ++i) {
      SCOPED_TRACE(fmt::format("tiles of {}, case {}", outputs, i));
      const Step step = step_of(random, kWinogradCases[i], "", random.chance(0.5), random.chance(0.5), false);
      expect_like_reference(anywhere(outputs), step, tile_tolerance(step, outputs));
    }
  }
}

TEST(WinogradKernel, AppliesActivationsBeforeOrAfterTheResidual) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int outputs : {2, 4}) {
    for (const char* activation : {"relu", "gelu", "relu6", "hard_swish"}) {
      SCOPED_TRACE(activation);
      for (const bool of_sum : {false, true}) {
        const Step step =
            step_of(random, three_by_three({6, 5}, 1, 20, 37, {1, 1, 1, 1}), activation, true, true, of_sum);
        expect_like_reference(anywhere(outputs), step, tile_tolerance(step, outputs));
      }
    }
  }
}

TEST(WinogradKernel, AnImageIsTheSameAloneInAnyBatchAndOverItsResidual) {
  Random random;
  SCOPED_TRACE(random.trace());
  const ConvCase c = three_by_three({9, 7}, 5, 40, 70, {1, 1, 1, 1});
  for (const int outputs : {2, 4}) {
    const Step whole = step_of(random, c, "relu", true, true, true);
    ASSERT_TRUE(anywhere(outputs).in_place((*build(whole))->problem, 3));
    for (const Isa isa : available_isas()) {
      const Tensor all = (*run_kernel(anywhere(outputs), whole, isa, 2))[0];
      EXPECT_TRUE((*run_kernel(anywhere(outputs), whole, isa, 2, "", 3))[0].same_bytes(all)) << isa_name(isa);
      for (int64_t image = 0; image < c.batch; ++image) {
        Step part = whole;
        part.inputs[0] = rows_of(*whole.inputs[0], image, image + 1);
        part.inputs[3] = rows_of(*whole.inputs[3], image, image + 1);
        const Tensor one = (*run_kernel(anywhere(outputs), part, isa, 1))[0];
        EXPECT_TRUE(one.same_bytes(rows_of(all, image, image + 1))) << isa_name(isa) << ", image " << image;
      }
    }
  }
}

TEST(WinogradKernel, NanReachesEveryPixelThatSeesIt) {
  Random random;
  const Step step = step_of(random, three_by_three({8, 8}, 1, 3, 2, {1, 1, 1, 1}), "", false, false, false);
  for (const int outputs : {2, 4}) {
    Step bad = step;
    bad.inputs[0] = filled(DType::kF32, {1, 8, 8, 3}, [&](int64_t i) { return i == 100 ? NAN : 1.0; });
    const Tensor y = (*run_kernel(anywhere(outputs), bad, available_isas().front(), 1))[0];
    const int64_t row = 100 / 24, column = 100 / 3 % 8;
    for (int64_t i = row - 1; i <= row + 1; ++i)
      for (int64_t j = column - 1; j <= column + 1; ++j) EXPECT_TRUE(std::isnan(y.at((i * 8 + j) * 2)));
    EXPECT_FALSE(std::isnan(y.at(0)));
  }
}

TEST(WinogradKernel, IsChosenWhereItIsLessWork) {
  Random random;
  const auto reason = [&](int outputs, int64_t size, int64_t channels, int64_t batch = 1) {
    const Step step =
        step_of(random, three_by_three({size, size}, batch, channels, channels, {1, 1, 1, 1}), "", false, false, false);
    return declined(winograd_conv_kernel(outputs), step);
  };
  EXPECT_EQ(reason(4, 56, 64), "");
  EXPECT_EQ(reason(4, 28, 128), "");
  EXPECT_EQ(reason(2, 28, 128), "more work than other tiles, as estimated");
  EXPECT_EQ(reason(2, 14, 256), "");  // the filters of the larger tiles would stream from memory
  EXPECT_EQ(reason(4, 14, 256), "more work than products over taps, as estimated");
  for (const int outputs : {2, 4}) {
    EXPECT_EQ(reason(outputs, 7, 512), "more work than products over taps, as estimated");
    EXPECT_EQ(reason(outputs, 1, 64), "more work than products over taps, as estimated");
    EXPECT_EQ(reason(outputs, 56, 1), "more work than products over taps, as estimated");
  }
}

TEST(WinogradKernel, DeclinesWithAReason) {
  Random random;
  const auto reason = [&](const ConvCase& c) {
    return declined(anywhere(4), step_of(random, c, "", false, false, false));
  };
  ConvCase c = three_by_three({8, 8}, 1, 4, 4, {1, 1, 1, 1});
  EXPECT_EQ(reason(c), "");
  c.groups = 2;
  EXPECT_EQ(reason(c), "filters are in groups");
  c.groups = 1;
  c.strides = {1, 2};
  EXPECT_EQ(reason(c), "windows are strided or dilated");
  c.strides = {1, 1};
  c.dilations = {2, 1};
  EXPECT_EQ(reason(c), "windows are strided or dilated");
  c.dilations = {1, 1};
  c.kernel = {3, 5};
  EXPECT_EQ(reason(c), "windows are not 3 x 3");
  EXPECT_EQ(reason({{9}, 1, 4, 4, 1, {3}, {1}, {1}, {1, 1}}), "windows are not 3 x 3");
  Step step = step_of(random, kWinogradCases[1], "", false, false, false);
  step.constants = {};
  EXPECT_EQ(declined(anywhere(2), step), "the weights are computed when run");
}

}  // namespace
}  // namespace tenon::test
