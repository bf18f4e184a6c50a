// conv with plain arithmetic (depthwise, grouped, of odd widths or of f32) and pooling; the device side is windows.cu.
#include "kernels/cuda/conv.h"
#include "kernels/cuda/device/window_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {
namespace {

// 16 bytes, where all of these counts are made of them.
int vector_of(DType dtype, std::initializer_list<int64_t> counts) {
  const int whole = 16 / static_cast<int>(dtype_size(dtype));
  return std::ranges::all_of(counts, [&](int64_t n) { return n % whole == 0; }) ? whole : 1;
}

std::vector<std::string> window_defines(const Window2d& w, int vector, int pixels, const char* kind) {
  return {fmt::format("VECTOR={}", vector),
          fmt::format("PIXELS={}", pixels),
          fmt::format("KIND={}", kind),
          fmt::format("KERNEL_H={}", w.kernel.h),
          fmt::format("KERNEL_W={}", w.kernel.w),
          fmt::format("STEP_H={}", w.step.h),
          fmt::format("STEP_W={}", w.step.w),
          fmt::format("DILATION_H={}", w.dilation.h),
          fmt::format("DILATION_W={}", w.dilation.w)};
}

class WindowLauncher final : public Launcher {
 public:
  WindowLauncher(const Device& device, Function function, const Window2d& window, int vector, int pixels,
                 int64_t channels)
      : device_(device), function_(function), window_(window), vector_(vector), pixels_(pixels), channels_(channels) {}

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(0), y = args.output();
    if (y.numel() == 0) return {};
    if (std::max(x.numel(), y.numel()) > INT32_MAX)
      return error(ErrorCode::kUnsupported, "a tensor of more than 2^31 - 1 elements");
    const Images in = Images::of(x), out = Images::of(y);
    if (channels_ > 0 && in.channels != channels_) {
      return error(ErrorCode::kBadInput, "images of {} channels do not fit weights of {}", in.channels, channels_);
    }
    WindowArgs a = {.x = x.data, .y = y.data};
    if (channels_ > 0) {
      a.w = args.input(kConvW).data;
      a.bias = args.input(kConvBias).data;
      a.residual = args.input(kConvResidual).data;
    }
    a.height = static_cast<int>(in.height), a.width = static_cast<int>(in.width);
    a.channels = static_cast<int>(in.channels);
    a.out_width = static_cast<int>(out.width), a.out_channels = static_cast<int>(out.channels);
    a.before_h = static_cast<int>(window_.before.h), a.before_w = static_cast<int>(window_.before.w);
    a.after_h = static_cast<int>(window_.after.h), a.after_w = static_cast<int>(window_.after.w);
    const int64_t vectors = out.channels / vector_, groups = blocks_for(out.width, pixels_);
    a.vectors = divisor(vectors), a.groups = divisor(groups), a.out_height = divisor(out.height);
    a.count = static_cast<unsigned>(out.count * out.height * groups * vectors);
    return launch_with(device_, function_, args, launch_flat(a.count), a);
  }

 private:
  const Device& device_;
  Function function_;
  Window2d window_;
  int vector_, pixels_;
  int64_t channels_;  // of x, where there are weights
};

class PlainConv final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.conv.plain"; }
  bool in_place(const Problem&, int index) const override { return index == kConvResidual; }

  Support supports(const Problem& p) const override {
    if (Support s = supports_conv(p); !s) return s;
    if (!is_row_dtype(p.inputs[kConvX].dtype))
      return Support::no(fmt::format("x is {}", dtype_name(p.inputs[kConvX].dtype)));
    return Support::yes();
  }

  std::optional<TensorType> packed_type(const Problem& p, int index) const override {
    if (index != kConvW) return std::nullopt;
    return TensorType{p.inputs[kConvW].dtype, {ir::numel(p.inputs[kConvW].shape)}};
  }

  // [filter][channel][element] becomes [element][channel][filter].
  Result<Tensor> prepack(const Problem&, int, const Tensor& w) const override {
    const int64_t filters = w.shape()[0], channels = w.shape()[1], elements = w.numel() / filters / channels;
    const size_t size = dtype_size(w.dtype());
    std::byte* bytes = nullptr;
    TENON_ASSIGN(Tensor packed, Tensor::allocate(w.dtype(), {w.numel()}, &bytes));
    const std::byte* from = w.data();
    for (int64_t f = 0; f < filters; ++f)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t e = 0; e < elements; ++e, from += size)
          std::copy_n(from, size, bytes + static_cast<size_t>((e * channels + c) * filters + f) * size);
    return packed;
  }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    std::vector<std::string> defines = window_defines(*Window2d::of(p), vector(p), kPixels, "kFilter");
    for (std::string& text : conv_defines(p)) defines.push_back(std::move(text));
    defines.push_back(fmt::format("GROUP_CHANNELS={}", group_channels(p)));
    defines.push_back(fmt::format("GROUP_FILTERS={}", group_filters(p)));
    return DeviceSource{"windows.cu", "windows", std::move(defines)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    const int64_t channels = group_channels(p) * p.attrs.integer("group");
    return std::unique_ptr<Launcher>(
        std::make_unique<WindowLauncher>(device, function, *Window2d::of(p), vector(p), kPixels, channels));
  }

 private:
  static constexpr int kPixels = 4;

  static int64_t group_channels(const Problem& p) { return p.inputs[kConvW].shape[1].value(); }
  static int64_t group_filters(const Problem& p) {
    return p.inputs[kConvW].shape[0].value() / p.attrs.integer("group");
  }
  static int vector(const Problem& p) {
    const bool one_to_one = group_channels(p) == 1 && group_filters(p) == 1;
    return vector_of(p.inputs[kConvX].dtype, {one_to_one ? p.attrs.integer("group") : group_filters(p)});
  }
};

class PoolKernel final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.pool"; }

  Support supports(const Problem& p) const override {
    if (p.op != Op::k_max_pool && p.op != Op::k_average_pool)
      return Support::no("computes max_pool and average_pool only");
    if (!ops::channels_last(p.attrs)) return Support::no("the channels are not last");
    if (!is_row_dtype(p.inputs[0].dtype)) return Support::no(fmt::format("x is {}", dtype_name(p.inputs[0].dtype)));
    if (const auto window = Window2d::of(p); !window.ok()) return Support::no(window.status().message());
    return Support::yes();
  }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    const bool mean = p.op == Op::k_average_pool;
    std::vector<std::string> defines = window_defines(*Window2d::of(p), vector(p), kPixels, mean ? "kMean" : "kMost");
    defines.push_back(fmt::format("ELEMENT={}", dtype_name(p.inputs[0].dtype)));
    if (mean) defines.push_back(fmt::format("COUNT_PADDING={}", p.attrs.integer("count_include_pad") != 0 ? 1 : 0));
    return DeviceSource{"windows.cu", "windows", std::move(defines)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    return std::unique_ptr<Launcher>(
        std::make_unique<WindowLauncher>(device, function, *Window2d::of(p), vector(p), kPixels, 0));
  }

 private:
  static constexpr int kPixels = 1;

  static int vector(const Problem& p) {
    const ir::Dim& channels = p.inputs[0].shape.back();
    return channels.is_const() ? vector_of(p.inputs[0].dtype, {channels.value()}) : 1;
  }
};

}  // namespace

const Kernel& plain_conv_kernel() {
  static const PlainConv kernel;
  return kernel;
}

const Kernel& pool_kernel() {
  static const PoolKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
