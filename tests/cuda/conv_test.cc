#include "kernels/cuda/cudnn.h"
#include "tests/cuda/run_cuda_kernel.h"

namespace tenon::test {
namespace {

using namespace kernels::cuda;
using kernels::CudaKernel;

struct ConvCase {
  std::vector<int64_t> image;  // spatial sizes
  int64_t batch, channels, filters, groups;
  std::vector<int64_t> kernel, strides, dilations, pads;
};

enum Extras { kNothing = 0, kWithBias = 1, kWithResidual = 2, kOfSum = 4 };

// x: of what type the images are; with `image_first` their channels are, too.
Step conv_step(Random& random, DType dtype, const ConvCase& c, const std::string& activation, int extras,
               std::optional<DType> x_dtype = std::nullopt, bool image_first = false) {
  std::vector<int64_t> x{c.batch}, w{c.filters, c.channels / c.groups};
  if (image_first) x.push_back(c.channels);
  x.insert(x.end(), c.image.begin(), c.image.end());
  if (!image_first) x.push_back(c.channels);
  w.insert(w.end(), c.kernel.begin(), c.kernel.end());
  int64_t depth = c.channels / c.groups;
  for (const int64_t n : c.kernel) depth *= n;
  const double range = 1.5 / std::sqrt(static_cast<double>(depth));  // results of the order of 1
  Step step{Op::k_conv,
            {random.tensor(x_dtype.value_or(dtype), x, -1, 1), random.tensor(dtype, w, -range, range), std::nullopt,
             std::nullopt},
            {{"strides", c.strides},
             {"dilations", c.dilations},
             {"pads", ir::to_shape(c.pads)},
             {"group", c.groups},
             {"channels_last", int64_t{image_first ? 2 : 1}},
             {"activation", activation},
             {"activate_sum", int64_t{(extras & kOfSum) != 0}}},
            {1, 2}};
  if ((extras & kWithBias) != 0) step.inputs[2] = random.tensor(dtype, {c.filters}, -1, 1);
  if ((extras & kWithResidual) != 0) {
    const auto built = build(step);
    EXPECT_TRUE(built.ok()) << built.status().message();
    step.inputs[3] = random.tensor(dtype, ir::const_values((*built)->problem.outputs[0].shape), -1, 1);
  }
  return step;
}

// As for linear: one rounding, another order of the sums, approximate activations; images of f32 are rounded, too.
Tolerance conv_tolerance(DType dtype) { return dtype == DType::kF32 ? tolerance(dtype) * 20 : tolerance(dtype) * 3; }

// The best guess, and some other configs by lot: tests of linear run all tiles.
void expect_conv(const CudaKernel& kernel, const Step& step, DType dtype, Random& random) {
  if (gpu() != nullptr && !kernel.runs_on(gpu()->compute_capability())) return;
  if (gpu() == nullptr) return expect_like_reference(kernel, step, conv_tolerance(dtype));
  const auto expected = run_op(step.op, step.inputs, step.attrs);
  ASSERT_TRUE(expected.ok()) << expected.status().message();
  const auto built = build(step);
  ASSERT_TRUE(built.ok()) << built.status().message();
  const kernels::Support support = kernel.supports((*built)->problem);
  ASSERT_TRUE(support) << support.reason;
  const std::vector<kernels::Config> configs = kernel.configs((*built)->problem);
  for (size_t i = 0; i < configs.size(); ++i) {
    if (i > 0 && !random.chance(7.0 / static_cast<double>(configs.size()))) continue;
    SCOPED_TRACE(std::string(kernel.id()) + " " + configs[i].text);
    const auto actual = run_cuda_kernel(kernel, step, configs[i]);
    ASSERT_TRUE(actual.ok()) << actual.status().message();
    EXPECT_TRUE(close(actual->front(), expected->front(), conv_tolerance(dtype)));
  }
}

const char* const kActivations[] = {"", "relu", "silu", "relu6", "hard_swish", "gelu"};

const ConvCase kProducts[] = {
    {{7, 9}, 2, 40, 64, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},  // a linear
    {{8, 7}, 3, 64, 136, 1, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}},
    {{7, 7}, 2, 96, 128, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {{14, 13}, 3, 64, 64, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
    {{13, 14}, 2, 24, 40, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}},
    {{12, 5}, 3, 8, 72, 1, {3, 5}, {2, 1}, {1, 1}, {1, 3, 0, 2}},
    {{17, 15}, 1, 128, 24, 1, {3, 3}, {1, 1}, {2, 3}, {2, 3, 2, 3}},
    {{9, 9}, 2, 32, 32, 1, {5, 2}, {3, 3}, {1, 1}, {3, 0, 1, 1}},
    {{40}, 2, 32, 48, 1, {3}, {2}, {1}, {1, 1}},                  // one axis
    {{2, 2}, 2, 16, 8, 1, {3, 3}, {1, 1}, {1, 1}, {3, 3, 3, 3}},  // windows that lie in the padding alone
    {{1, 1}, 5, 64, 64, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
};

class CudaConvProduct : public testing::TestWithParam<int> {};

TEST_P(CudaConvProduct, AgreesWithTheReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  const int turn = GetParam();
  const DType dtype = turn % 2 == 0 ? DType::kF16 : DType::kBF16;
  const Step step = conv_step(random, dtype, kProducts[turn], kActivations[turn % 6], turn * 5 % 8);
  expect_conv(*conv_sm90_kernel().as_cuda(), step, dtype, random);
}

INSTANTIATE_TEST_SUITE_P(EveryGeometry, CudaConvProduct, testing::Range(0, static_cast<int>(std::size(kProducts))));

TEST(CudaConv, ProductsWalkOverSeveralTilesOfABlock) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Step windows = conv_step(random, DType::kF16, {{61, 67}, 6, 64, 200, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
                                 "relu", kWithBias | kWithResidual | kOfSum);
  expect_conv(*conv_sm90_kernel().as_cuda(), windows, DType::kF16, random);
  for (const int64_t channels : {64, 136, 256}) {  // tiles of few chunks, whose loads are tiles ahead
    const Step pixels =
        conv_step(random, DType::kF16, {{97, 101}, 5, channels, 128, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}}, "relu",
                  kWithBias | (channels == 64 ? kWithResidual | kOfSum : 0));
    expect_conv(*conv_sm90_kernel().as_cuda(), pixels, DType::kF16, random);
  }
}

TEST(CudaConv, PlainOnesTakeGroupsOddWidthsAndEveryType) {
  Random random;
  SCOPED_TRACE(random.trace());
  const ConvCase cases[] = {
      {{10, 7}, 2, 24, 40, 4, {3, 3}, {1, 2}, {1, 1}, {1, 1, 1, 1}},
      {{9, 11}, 2, 64, 64, 64, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},  // depthwise
      {{14, 13}, 1, 40, 40, 40, {5, 5}, {2, 2}, {1, 1}, {2, 2, 2, 2}},
      {{9, 8}, 1, 13, 13, 13, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},
      {{7, 9}, 2, 130, 33, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
      {{6, 5}, 2, 32, 64, 32, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},  // two filters for each channel
      {{12, 13}, 1, 3, 8, 1, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}},
      {{8, 8}, 2, 32, 32, 2, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
      {{40}, 2, 30, 31, 1, {3}, {2}, {1}, {1, 1}},
      {{2, 2}, 1, 16, 9, 1, {3, 3}, {1, 1}, {1, 1}, {4, 4, 4, 4}},
  };
  const DType types[] = {DType::kF16, DType::kF32, DType::kBF16};
  int turn = 0;
  for (const ConvCase& c : cases) {
    for (const int shift : {0, 1}) {
      SCOPED_TRACE(turn);
      const DType dtype = types[(turn + shift) % 3];
      expect_conv(*plain_conv_kernel().as_cuda(),
                  conv_step(random, dtype, c, kActivations[(turn + shift) % 6], (turn + shift) * 3 % 8), dtype, random);
    }
    ++turn;
  }
}

TEST(CudaConv, ImagesAreTakenAsTheyComeIn) {
  Random random;
  SCOPED_TRACE(random.trace());
  const ConvCase cases[] = {
      {{45, 39}, 2, 3, 64, 1, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}},
      {{17, 23}, 3, 3, 32, 1, {3, 3}, {2, 2}, {1, 1}, {0, 0, 1, 1}},
      {{11, 13}, 1, 3, 40, 1, {3, 3}, {1, 1}, {2, 2}, {2, 2, 2, 2}},
      {{33, 34}, 1, 4, 96, 1, {4, 4}, {4, 4}, {1, 1}, {0, 0, 0, 0}},
      {{16, 15}, 2, 1, 5, 1, {5, 5}, {1, 1}, {1, 1}, {2, 2, 2, 2}},
      {{9, 6}, 2, 3, 70, 1, {5, 4}, {1, 3}, {2, 1}, {4, 2, 4, 3}},
      // Whole vectors of pixels.
      {{37, 44}, 2, 3, 64, 1, {7, 7}, {2, 2}, {1, 1}, {3, 3, 3, 3}},
      {{18, 24}, 3, 3, 32, 1, {3, 3}, {2, 2}, {1, 1}, {0, 0, 1, 1}},
      {{21, 40}, 1, 3, 48, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
      {{16, 20}, 2, 2, 72, 1, {5, 6}, {2, 4}, {1, 1}, {2, 2, 2, 3}},
      {{12, 36}, 1, 4, 24, 1, {3, 4}, {1, 2}, {2, 2}, {2, 3, 2, 3}},
  };
  const DType types[] = {DType::kF32, DType::kF16, DType::kBF16};
  int turn = 0;
  for (const ConvCase& c : cases) {
    SCOPED_TRACE(turn);
    const DType dtype = turn % 2 == 0 ? DType::kF16 : DType::kBF16;
    expect_conv(*conv_image_kernel().as_cuda(),
                conv_step(random, dtype, c, kActivations[turn % 6], turn * 3 % 8, types[turn % 3], true), dtype,
                random);
    ++turn;
  }
}

TEST(CudaConv, AnImageIsTheSameAloneAndInAnyBatch) {
  if (gpu() == nullptr || gpu()->compute_capability() != 90) GTEST_SKIP() << "no Hopper GPU";
  Random random;
  SCOPED_TRACE(random.trace());
  const Step all =
      conv_step(random, DType::kF16, {{14, 14}, 5, 64, 72, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}}, "relu", 7);
  Step one = all;
  one.inputs[0] = rows_of(*all.inputs[0], 3, 4);
  one.inputs[3] = rows_of(*all.inputs[3], 3, 4);
  const CudaKernel& kernel = *conv_sm90_kernel().as_cuda();
  std::map<std::string, Tensor> by_numerics;
  for (const kernels::Config& config : kernel.configs((*build(all))->problem)) {
    SCOPED_TRACE(config.text);
    const auto whole = run_cuda_kernel(kernel, all, config), part = run_cuda_kernel(kernel, one, config);
    ASSERT_TRUE(whole.ok() && part.ok());
    EXPECT_TRUE(rows_of(whole->front(), 3, 4).same_bytes(part->front()));
    EXPECT_TRUE(by_numerics.try_emplace(config.numerics, whole->front()).first->second.same_bytes(whole->front()));
  }
}

TEST(CudaConv, NanStaysInItsWindows) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto with_nan = [](const Tensor& x, int64_t at) {
    return filled(x.dtype(), x.shape(), [&](int64_t i) { return i == at ? NAN : x.at(i); });
  };
  Step step = conv_step(random, DType::kF16, {{9, 9}, 2, 24, 16, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}}, "", 1);
  step.inputs[0] = with_nan(*step.inputs[0], 40 * 24 + 5);
  expect_conv(*conv_sm90_kernel().as_cuda(), step, DType::kF16, random);
  for (const int64_t width : {21, 24}) {
    step = conv_step(random, DType::kF16, {{21, width}, 1, 3, 32, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}}, "", 1,
                     DType::kF32, true);
    step.inputs[0] = with_nan(*step.inputs[0], width * 10 + 9);
    expect_conv(*conv_image_kernel().as_cuda(), step, DType::kF16, random);
  }
}

TEST(CudaConv, DeclinesWithAReason) {
  Random random;
  const auto reason = [](const kernels::Kernel& kernel, const Step& step) {
    return kernel.supports((*build(step))->problem).reason;
  };
  ConvCase c = kProducts[2];
  EXPECT_EQ(reason(conv_sm90_kernel(), conv_step(random, DType::kF32, c, "", 0)), "computes f16 and bf16 only");
  c.channels = 97;
  EXPECT_EQ(reason(conv_sm90_kernel(), conv_step(random, DType::kF16, c, "", 0)),
            "97 channels are not a multiple of 8");
  c = kProducts[2];
  c.groups = 2;
  EXPECT_EQ(reason(conv_sm90_kernel(), conv_step(random, DType::kF16, c, "", 0)), "has one group only");
  c = kProducts[2];
  c.pads = {200, 200, 200, 200};
  EXPECT_EQ(reason(conv_sm90_kernel(), conv_step(random, DType::kF16, c, "", 0)), "windows reach further than TMA can");
  Step first = conv_step(random, DType::kF16, kProducts[2], "", 0, std::nullopt, true);
  EXPECT_EQ(reason(conv_sm90_kernel(), first), "the channels are not last");
  EXPECT_EQ(reason(plain_conv_kernel(), first), "the channels are not last");
  const ConvCase solid{{4, 5, 6}, 1, 8, 8, 1, {2, 3, 2}, {1, 2, 1}, {1, 1, 2}, {1, 1, 0, 0, 1, 2}};
  EXPECT_EQ(reason(plain_conv_kernel(), conv_step(random, DType::kF16, solid, "", 0)), "3 spatial axes");
}

// ---- Pooling ------------------------------------------------------------------------------------------------------

TEST(CudaPool, AgreesWithTheReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  struct Case {
    std::vector<int64_t> x, kernel, strides, dilations, pads;
    int64_t ceil_mode;
  };
  const Case cases[] = {
      {{2, 14, 13, 64}, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}, 0},
      {{1, 9, 8, 13}, {2, 2}, {2, 2}, {1, 1}, {0, 0, 0, 0}, 1},
      {{3, 7, 7, 40}, {5, 3}, {1, 1}, {1, 2}, {2, 2, 2, 2}, 0},
      {{2, 6, 5, 24}, {3, 3}, {3, 2}, {1, 1}, {0, 1, 2, 1}, 1},
      {{2, 20, 8}, {4}, {3}, {1}, {1, 2}, 0},
      {{1, 1, 1, 96}, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}, 0},
  };
  for (const Case& c : cases) {
    for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
      const Attrs attrs = {{"kernel_shape", c.kernel},     {"strides", c.strides},     {"dilations", c.dilations},
                           {"pads", ir::to_shape(c.pads)}, {"ceil_mode", c.ceil_mode}, {"channels_last", int64_t{1}}};
      const Tensor x = random.tensor(dtype, c.x, -1, 1);
      SCOPED_TRACE(fmt::format("{} {}", dtype_name(dtype), ir::to_string(ir::to_shape(c.x))));
      expect_like_reference(*pool_kernel().as_cuda(), {Op::k_max_pool, {x}, attrs}, {});
      for (const int64_t padding : {0, 1}) {
        Attrs mean = attrs;
        mean.set("count_include_pad", padding);
        expect_like_reference(*pool_kernel().as_cuda(), {Op::k_average_pool, {x}, mean}, tolerance(dtype) * 2);
      }
    }
  }
}

TEST(CudaPool, NanIsTheGreatest) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32}) {
    for (const int64_t channels : {16, 3}) {
      const Tensor x = filled(dtype, {2, 7, 6, channels},
                              [&](int64_t i) { return i % 37 == 5 ? NAN : static_cast<double>(i % 11) - 5; });
      const Attrs attrs = {{"kernel_shape", std::vector<int64_t>{3, 3}}, {"channels_last", int64_t{1}}};
      expect_like_reference(*pool_kernel().as_cuda(), {Op::k_max_pool, {x}, attrs}, {});
    }
  }
}

// By cuDNN, beside the plain loops; skipped where there is no GPU or no such library.
TEST(CudaConvCudnn, AgreesWithReference) {
  if (gpu() == nullptr || gpu()->compute_capability() != 90) GTEST_SKIP() << "no such GPU";
  if (!cuda::cudnn().ok()) GTEST_SKIP() << cuda::cudnn().status().message();
  Random random;
  SCOPED_TRACE(random.trace());
  const ConvCase cases[] = {{{7, 9}, 2, 40, 64, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}},
                            {{8, 7}, 3, 64, 136, 1, {1, 1}, {2, 2}, {1, 1}, {0, 0, 0, 0}},
                            {{14, 13}, 2, 64, 72, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}},
                            {{15, 14}, 1, 128, 64, 1, {3, 3}, {2, 2}, {1, 1}, {1, 1, 1, 1}},
                            {{20, 11}, 2, 64, 64, 1, {3, 5}, {1, 1}, {2, 1}, {2, 2, 2, 2}}};
  const auto& kernel = *conv_sm90_kernel().as_cuda();
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (const ConvCase& c : cases) {
      for (const char* activation : {"", "relu"}) {
        const Step step = conv_step(random, dtype, c, activation, kWithBias);
        const auto expected = run_op(step.op, step.inputs, step.attrs);
        ASSERT_TRUE(expected.ok()) << expected.status().message();
        const auto configs = kernel.library_configs((*build(step))->problem, "cudnn");
        EXPECT_FALSE(configs.empty());
        for (const kernels::Config& config : configs) {
          SCOPED_TRACE(fmt::format("{} {} {} {} to {} '{}'", config.text, dtype_name(dtype), c.image[0], c.channels, c.filters, activation));
          const auto actual = run_cuda_kernel(kernel, step, config);
          ASSERT_TRUE(actual.ok()) << actual.status().message();
          EXPECT_TRUE(close(actual->front(), expected->front(), conv_tolerance(dtype)));
        }
      }
    }
  }
}

TEST(CudaConvCudnn, OffersOnlyWhatMeansTheSame) {
  Random random;
  const auto offers = [&](const ConvCase& c, const std::string& activation, int extras, std::string_view library = "cudnn") {
    const Step step = conv_step(random, DType::kF16, c, activation, extras);
    return !conv_sm90_kernel().library_configs((*build(step))->problem, library).empty();
  };
  const ConvCase plain{{9, 9}, 1, 64, 64, 1, {3, 3}, {1, 1}, {1, 1}, {1, 1, 1, 1}};
  ConvCase uneven = plain, gaps = plain;
  uneven.pads = {0, 0, 1, 1};
  gaps.channels = 40;  // packed as 64
  EXPECT_TRUE(offers(plain, "relu", kWithBias));
  EXPECT_TRUE(offers(plain, "", kWithBias));
  EXPECT_FALSE(offers(plain, "relu", kNothing));
  EXPECT_FALSE(offers(plain, "silu", kWithBias));
  EXPECT_FALSE(offers(plain, "relu", kWithBias | kWithResidual));
  EXPECT_FALSE(offers(uneven, "relu", kWithBias));
  EXPECT_FALSE(offers(gaps, "relu", kWithBias));
  EXPECT_FALSE(offers(plain, "relu", kWithBias, "cublaslt"));
}

}  // namespace
}  // namespace tenon::test
