// What slides a window over each channel by itself, channels last: depthwise conv, max_pool and average_pool.
//
// kWindowPixels pixels of y at a time, all their channels side by side (VectorCode::window).
#include <limits>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/window_rows.h"

namespace tenon::kernels::cpu {
namespace {

// A thread's memory.
struct WindowScratch {
  float* outside;  // a row: what taps outside of the image read
  int64_t* offsets;
  const float** rows;  // [tap][kWindowPixels]

  static size_t bytes(const ops::Window& g, int64_t channels) {
    return static_cast<size_t>(whole_lines(channels) + whole_lines(2 * g.kernel_size() * (1 + kWindowPixels))) * 4;
  }
  WindowScratch(const ops::Window& g, int64_t channels, float fill, void* memory, int thread) {
    outside =
        reinterpret_cast<float*>(static_cast<std::byte*>(memory) + bytes(g, channels) * static_cast<size_t>(thread));
    offsets = reinterpret_cast<int64_t*>(outside + whole_lines(channels));
    rows = reinterpret_cast<const float**>(offsets + g.kernel_size());
    std::fill_n(outside, channels, fill);
  }
};

class WindowLauncher final : public Launcher {
 public:
  WindowLauncher(const Problem& problem, const VectorCode& code) : code_(code), attrs_(problem.attrs) {
    if (problem.op == Op::k_conv) {
      op_ = WindowOp::kFilter;
      kernel_ = ir::const_values(problem.inputs[kW].shape);
      kernel_.erase(kernel_.begin(), kernel_.begin() + 2);
      epilogue_.activation = activation_of(attrs_);
      epilogue_.activate_sum = attrs_.integer("activate_sum") != 0;
    } else {
      op_ = problem.op == Op::k_max_pool ? WindowOp::kMax : WindowOp::kSum;
      kernel_ = attrs_.integers("kernel_shape");
      count_padding_ = op_ == WindowOp::kSum && attrs_.integer("count_include_pad") != 0;
    }
  }

  size_t workspace(const RunArgs& args, int threads) const override {
    return WindowScratch::bytes(window_of(args), args.input(kX).dim(-1)) * static_cast<size_t>(threads);
  }

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(kX), y = args.output();
    const int64_t channels = y.dim(-1);
    if (x.dim(-1) != channels) {
      return error(ErrorCode::kBadInput, "an image of {} channels, not {}", x.dim(-1), channels);
    }
    if (y.numel() == 0) return {};
    const ops::Window g = window_of(args);
    const int64_t pixels = y.numel() / channels;
    Epilogue epilogue = epilogue_;
    if (op_ == WindowOp::kFilter) {
      epilogue.bias = args.input(kBias).data;
      epilogue.residual = args.input(kResidual).data;
      epilogue.residual_stride = channels;
    }
    const bool plain =
        epilogue.bias == nullptr && epilogue.residual == nullptr && epilogue.activation == Activation::kNone;
    const float outside = op_ == WindowOp::kMax ? -std::numeric_limits<float>::infinity() : 0.0f;
    for_range(args.pool, ceil_div(pixels, kWindowPixels), y.numel() * g.kernel_size(),
              [&](int64_t begin, int64_t end, int thread) {
                const WindowScratch scratch(g, channels, outside, args.workspace, thread);
                const WindowRows rows(g, x.as<const float>(), channels, scratch.offsets);
                WindowRows::Pixel pixel = rows.pixel(begin * kWindowPixels);
                for (int64_t i = begin; i < end; ++i) {
                  const int64_t first = i * kWindowPixels;
                  float scale[kWindowPixels] = {};
                  WindowTile t{.rows = scratch.rows,
                               .taps = g.kernel_size(),
                               .filter = op_ == WindowOp::kFilter ? args.input(kW).as<const float>() : nullptr,
                               .scale = scale,
                               .channels = channels,
                               .y = y.as<float>() + first * channels,
                               .y_stride = channels,
                               .pixels = static_cast<int>(std::min<int64_t>(kWindowPixels, pixels - first))};
                  for (int p = 0; p < kWindowPixels; ++p) {
                    rows.find(pixel, scratch.outside, scratch.rows + p, kWindowPixels);
                    if (op_ == WindowOp::kSum) scale[p] = factor(rows.count(pixel));
                    if (first + p + 1 < pixels) rows.advance(pixel);  // the last one stands for those behind it
                  }
                  code_.window(op_, t);
                  if (!plain) code_.epilogue(t.y, channels, t.y, channels, t.pixels, channels, epilogue.at(first, 0));
                }
              });
    return {};
  }

 private:
  ops::Window window_of(const RunArgs& args) const {
    return ops::Window::of(attrs_, args, args.input(kX).shape, args.output().shape, kernel_, 1);
  }
  float factor(WindowRows::Count count) const {
    const int64_t n = count_padding_ ? count.padded : count.inside;
    return n == 0 ? 0.0f : 1.0f / static_cast<float>(n);
  }

  const VectorCode& code_;
  Attrs attrs_;
  WindowOp op_;
  std::vector<int64_t> kernel_;
  bool count_padding_ = false;
  Epilogue epilogue_;
};

class DepthwiseKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.depthwise_conv.f32"; }

  Support supports(const Problem& problem) const override {
    if (Support s = conv_kernel().supports(problem); !s) return s;
    const ir::Shape& w = problem.inputs[kW].shape;
    if (w[1] != ir::Dim(1) || w[0] != ir::Dim(problem.attrs.integer("group")))
      return Support::no("channels and filters are not one to one");
    return Support::yes();
  }

  std::optional<TensorType> packed_type(const Problem& problem, int index) const override {
    if (index != kW) return std::nullopt;
    return TensorType{DType::kF32, {ir::numel(problem.inputs[kW].shape)}};
  }

  // [channel][tap] becomes [tap][channel].
  Result<Tensor> prepack(const Problem&, int, const Tensor& w) const override {
    const int64_t channels = w.shape()[0], taps = w.numel() / channels;
    std::byte* bytes = nullptr;
    TENON_ASSIGN(Tensor packed, Tensor::allocate(DType::kF32, {w.numel()}, &bytes));
    for (int64_t c = 0; c < channels; ++c)
      for (int64_t tap = 0; tap < taps; ++tap)
        reinterpret_cast<float*>(bytes)[tap * channels + c] = w.as<float>()[c * taps + tap];
    return packed;
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<WindowLauncher>(problem, code);
  }
};

class PoolKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.pool.f32"; }

  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_max_pool && problem.op != Op::k_average_pool)
      return Support::no("computes max_pool and average_pool only");
    if (!ops::channels_last(problem.attrs)) return Support::no("the channels are not last");
    return all_f32(problem);
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<WindowLauncher>(problem, code);
  }
};

}  // namespace

const CpuKernel& depthwise_conv_kernel() {
  static const DepthwiseKernel kernel;
  return kernel;
}

const CpuKernel& pool_kernel() {
  static const PoolKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
