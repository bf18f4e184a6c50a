#include "tests/kernels/conv_step.h"

namespace tenon::test {
namespace {

using kernels::cpu::conv_kernel;
using kernels::cpu::conv_pair_kernel;
using kernels::cpu::depthwise_conv_kernel;

// A product of every pixel and windows over each channel of what it makes.
struct Pair {
  Step pixels, windows;  // x of windows is what pixels gives

  Problem problem() const {
    Problem own = (*build(windows))->problem;
    own.before = std::make_shared<const Problem>((*build(pixels))->problem);
    return own;
  }
};

Pair pair_of(Random& random, const std::vector<int64_t>& image, int64_t batch, int64_t channels, int64_t wide, int64_t kernel, int64_t stride,
             const std::vector<int64_t>& pads) {
  Pair pair;
  const bool bias = random.chance(0.5);
  pair.pixels = step_of(random, {image, batch, channels, wide, 1, {1, 1}, {1, 1}, {1, 1}, {0, 0, 0, 0}}, "relu6", bias, false, false);
  pair.windows = step_of(random, {image, batch, wide, wide, wide, {kernel, kernel}, {stride, stride}, {1, 1}, pads}, "hard_swish", !bias, false, false);
  return pair;
}

Tensor packed(const CpuKernel& kernel, const Step& step) {
  const Tensor w = *step.inputs[1];
  return *kernel.prepack((*build(step))->problem, 1, w);
}

// y by the kernel that computes both.
Result<Tensor> run_pair(const Pair& pair, Isa isa, int threads) {
  const Problem problem = pair.problem();
  const Tensor w1 = packed(conv_kernel(), pair.pixels), w2 = packed(depthwise_conv_kernel(), pair.windows);
  const std::vector<int64_t> between = pair.windows.inputs[0]->shape(), y_shape = ir::const_values(problem.outputs[0].shape);
  const auto arg = [](const Given& t, const Tensor* data = nullptr) {
    return t ? ops::TensorArg{t->dtype(), t->shape(), const_cast<std::byte*>((data != nullptr ? data : &*t)->data())} : ops::TensorArg{};
  };
  const ops::TensorArg image{DType::kF32, between, nullptr};  // is not written
  const std::vector<ops::TensorArg> inputs{arg(pair.pixels.inputs[0]), arg(pair.pixels.inputs[1], &w1), arg(pair.pixels.inputs[2]), {}, image, image,
                                           arg(pair.windows.inputs[1], &w2), arg(pair.windows.inputs[2]), {}};
  std::byte* data = nullptr;
  TENON_ASSIGN(const Tensor y, Tensor::allocate(DType::kF32, y_shape, &data));
  std::memset(data, 0xff, y.bytes());
  const std::vector<ops::TensorArg> outputs{{DType::kF32, y_shape, data}};
  const std::vector<int64_t> pads = ir::const_values(problem.attrs.shape("pads"));
  const std::vector<ops::Sizes> sizes{{"pads", pads}};
  TENON_ASSIGN(const auto launcher, conv_pair_kernel().prepare_for(problem, {}, isa));
  const size_t bytes = launcher->workspace({.inputs = std::span(inputs).subspan(5), .outputs = outputs, .sizes = sizes}, threads);
  constexpr size_t kCanary = 64;
  const std::unique_ptr<void, FreeDeleter> workspace(std::aligned_alloc(64, (bytes + 63) / 64 * 64 + kCanary));
  auto* canary = static_cast<unsigned char*>(workspace.get()) + bytes;
  std::memset(canary, 0xa5, kCanary);
  ThreadPool pool(threads);
  TENON_TRY(launcher->launch({.inputs = inputs, .outputs = outputs, .sizes = sizes, .workspace = workspace.get(), .pool = threads == 1 ? nullptr : &pool}));
  EXPECT_TRUE(std::all_of(canary, canary + kCanary, [](unsigned char c) { return c == 0xa5; })) << "the workspace is too small";
  return y;
}

TEST(ConvPairKernel, GivesTheBitsOfTheTwoKernels) {
  Random random;
  SCOPED_TRACE(random.trace());
  struct Case {
    std::vector<int64_t> image;
    int64_t batch, channels, wide, kernel, stride;
    std::vector<int64_t> pads;
  };
  const Case cases[] = {{{64, 63}, 1, 5, 67, 3, 1, {1, 1, 1, 1}},   {{65, 64}, 2, 8, 64, 3, 2, {1, 1, 1, 1}},
                        {{57, 40}, 1, 16, 130, 5, 1, {2, 2, 2, 2}}, {{90, 33}, 3, 3, 96, 5, 2, {1, 2, 2, 1}},
                        {{31, 70}, 1, 7, 128, 3, 1, {0, 0, 0, 0}},  {{300, 5}, 1, 4, 192, 3, 3, {0, 1, 2, 0}},
                        {{40, 80}, 1, 6, 96, 1, 1, {0, 0, 0, 0}},   {{70, 64}, 1, 6, 64, 2, 3, {0, 0, 0, 0}}};
  for (const Case& c : cases) {
    SCOPED_TRACE(fmt::format("{} x {} x {}, {} channels, window {}, stride {}", c.batch, c.image[0], c.image[1], c.wide, c.kernel, c.stride));
    Pair pair = pair_of(random, c.image, c.batch, c.channels, c.wide, c.kernel, c.stride, c.pads);
    ASSERT_TRUE(conv_pair_kernel().supports(pair.problem())) << conv_pair_kernel().supports(pair.problem()).reason;
    for (const Isa isa : available_isas()) {
      const auto between = run_kernel(conv_kernel(), pair.pixels, isa, 1);
      ASSERT_TRUE(between.ok());
      pair.windows.inputs[0] = between->front();
      const auto expected = run_kernel(depthwise_conv_kernel(), pair.windows, isa, 1);
      ASSERT_TRUE(expected.ok());
      for (const int threads : {1, 2, 3}) {
        const auto actual = run_pair(pair, isa, threads);
        ASSERT_TRUE(actual.ok()) << actual.status().message();
        EXPECT_TRUE(actual->same_bytes(expected->front())) << isa_name(isa) << ", " << threads << " threads";
      }
    }
  }
}

TEST(ConvPairKernel, DeclinesWithAReason) {
  Random random;
  const auto reason = [&](const Pair& pair) { return conv_pair_kernel().supports(pair.problem()).reason; };
  const std::vector<int64_t> image{64, 64}, pads{1, 1, 1, 1};
  const Pair good = pair_of(random, image, 1, 8, 64, 3, 1, pads);
  EXPECT_EQ(reason(good), "");
  EXPECT_EQ(conv_pair_kernel().supports((*build(good.windows))->problem).reason, "no product of every pixel stands ahead of it");
  EXPECT_EQ(reason(pair_of(random, {32, 32}, 1, 8, 64, 3, 1, pads)), "an image of 256 KB between them stays in the cache");
  Pair wide = good, adds = good;
  wide.pixels = step_of(random, {image, 1, 8, 64, 1, {3, 3}, {1, 1}, {1, 1}, pads}, "", false, false, false);
  EXPECT_EQ(reason(wide), "the conv ahead sees more than one pixel");
  adds.windows = step_of(random, {image, 1, 64, 64, 64, {3, 3}, {1, 1}, {1, 1}, pads}, "", false, true, false);
  EXPECT_EQ(reason(adds), "it adds a residual");
}

}  // namespace
}  // namespace tenon::test
