// conv on Hopper as a product: window r of the images is row r of x, each element of the window with its channels some
// of the columns. TMA gathers them on their way into shared memory (product_rows.cuh); all else is a linear
// (linear_sm90.cu, linear_few_sm90.cu). A window of one pixel is a linear altogether.
#include <limits>

#include "kernels/cuda/conv.h"
#include "kernels/cuda/device/linear_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/sm90_tile.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int64_t kChunk = 64;  // columns of x that are loaded at once

int64_t filters(const Problem& p) { return p.inputs[kConvW].shape[0].value(); }
int64_t channels(const Problem& p) { return p.inputs[kConvW].shape[1].value(); }

// Columns of x for each element of the window: whole chunks, unless they lie in memory as they are.
int64_t padded_channels(const Problem& p, const Window2d& window) {
  return window.is_pixel() ? channels(p) : (channels(p) + kChunk - 1) / kChunk * kChunk;
}
int64_t depth(const Problem& p, const Window2d& window) {
  return window.kernel.h * window.kernel.w * padded_channels(p, window);
}

class ConvLauncher final : public Launcher {
 public:
  ConvLauncher(const Problem& problem, const Device& device, Function function, const Sm90Tile& tile)
      : device_(device),
        function_(function),
        tile_(tile),
        window_(*Window2d::of(problem)),
        channels_(channels(problem)),
        depth_(depth(problem, window_)),
        type_(problem.inputs[0].dtype == DType::kF16 ? tenon::cuda::TensorMapType::kF16
                                                     : tenon::cuda::TensorMapType::kBF16) {}

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(kConvX), y = args.output();
    const Images in = Images::of(x), out = Images::of(y);
    if (in.channels != channels_) {
      return error(ErrorCode::kBadInput, "images of {} channels do not fit weights of {}", in.channels, channels_);
    }
    if (out.pixels() == 0) return {};
    if (std::max(in.pixels(), out.pixels()) > std::numeric_limits<int>::max() / 2)
      return error(ErrorCode::kBadInput, "{} pixels are too many", std::max(in.pixels(), out.pixels()));
    ConvArgs rest;
    rest.bias = args.input(kConvBias).data;
    rest.residual = args.input(kConvResidual).data;
    rest.y = y.data;
    rest.rows = static_cast<int>(out.pixels());
    rest.backwards = args.backwards;
    rest.windows = {.height = static_cast<int>(out.height),
                    .width = static_cast<int>(out.width),
                    .step_h = static_cast<int>(window_.step.h),
                    .step_w = static_cast<int>(window_.step.w),
                    .first_h = -static_cast<int>(window_.before.h),
                    .first_w = -static_cast<int>(window_.before.w)};
    Product product = {.type = type_,
                       .x = {},
                       .w = device_ptr(args.input(kConvW)),
                       .residual = device_ptr(args.input(kConvResidual)),
                       .y = device_ptr(y),
                       .rows = out.pixels(),
                       .columns = out.channels,
                       .depth = depth_,
                       .has_norm = false,
                       .args = &rest};
    TENON_TRY(describe(product.x, device_ptr(x), in));
    return launch_product(device_, function_, tile_, product, args.stream);
  }

 private:
  Status describe(tenon::cuda::TensorMap& map, DevicePtr x, const Images& in) const {
    constexpr auto kSwizzle = tenon::cuda::Swizzle::k128B;
    if (window_.is_pixel()) {
      return tenon::cuda::encode_matrix(device_.api(), map, type_, x, in.pixels(), channels_, channels_ * 2, tile_.m,
                                        kChunk, kSwizzle);
    }
    const auto last = [](int64_t after, int64_t kernel, int64_t dilation) {
      return static_cast<int>(after - (kernel - 1) * dilation);
    };
    return tenon::cuda::encode_pixels(
        device_.api(), map, type_,
        {.data = x,
         .count = in.count,
         .size = {in.height, in.width},
         .channels = channels_,
         .first = {-static_cast<int>(window_.before.h), -static_cast<int>(window_.before.w)},
         .last = {last(window_.after.h, window_.kernel.h, window_.dilation.h),
                  last(window_.after.w, window_.kernel.w, window_.dilation.w)},
         .step = {static_cast<int>(window_.step.h), static_cast<int>(window_.step.w)},
         .pixels = tile_.m,
         .box_channels = kChunk},
        kSwizzle);
  }

  const Device& device_;
  Function function_;
  Sm90Tile tile_;
  Window2d window_;
  int64_t channels_, depth_;
  tenon::cuda::TensorMapType type_;
};

class ConvSm90 final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.conv.sm90"; }
  bool runs_on(int capability) const override { return capability == 90; }
  std::string arch(const Config&, int) const override { return "sm_90a"; }
  bool in_place(const Problem&, int index) const override { return index == kConvResidual; }

  Support supports(const Problem& p) const override {
    if (Support s = supports_conv(p); !s) return s;
    const DType dtype = p.inputs[kConvX].dtype;
    if (dtype != DType::kF16 && dtype != DType::kBF16) return Support::no("computes f16 and bf16 only");
    if (p.attrs.integer("group") != 1) return Support::no("has one group only");
    const Window2d window = *Window2d::of(p);
    for (const int64_t size : {channels(p), filters(p)}) {
      if (size % 8 != 0) return Support::no(fmt::format("{} channels are not a multiple of 8", size));
    }
    constexpr int64_t kMost = std::numeric_limits<int>::max() / 256;
    if (filters(p) > kMost || depth(p, window) > kMost) return Support::no("the weight is too large");
    // What a tensor map's fields hold.
    const auto fits = [](int64_t kernel, int64_t step, int64_t dilation, int64_t before, int64_t after) {
      const int64_t reach = (kernel - 1) * dilation;
      return step <= 8 && before <= 128 && after - reach <= 127 && after - reach >= -128 && reach <= 255;
    };
    const bool small = fits(window.kernel.h, window.step.h, window.dilation.h, window.before.h, window.after.h) &&
                       fits(window.kernel.w, window.step.w, window.dilation.w, window.before.w, window.after.w);
    return small ? Support::yes() : Support::no("windows reach further than TMA can");
  }

  std::vector<Config> configs(const Problem& p) const override {
    const ir::Dim images = p.inputs[kConvX].shape[0];
    return configs_for(p, images.is_const() ? images.value() : 16, 132);
  }
  Config config_for(const Problem& p, int64_t images, int multiprocessors) const override {
    return configs_for(p, images, multiprocessors).front();
  }

  std::vector<Config> library_configs(const Problem& p, std::string_view library) const override {
    return library == "cudnn" ? cudnn_configs(p, padded_channels(p, *Window2d::of(p))) : std::vector<Config>();
  }

  std::optional<TensorType> packed_type(const Problem& p, int index) const override {
    if (index != kConvW) return std::nullopt;
    return TensorType{p.inputs[kConvW].dtype, {ir::Dim(filters(p)), ir::Dim(depth(p, *Window2d::of(p)))}};
  }

  // [filter][channel][element] becomes [filter][element][channel], filled up with zeros.
  Result<Tensor> prepack(const Problem& p, int, const Tensor& w) const override {
    const int64_t padded = padded_channels(p, *Window2d::of(p)), taken = w.shape()[1],
                  elements = w.numel() / w.shape()[0] / taken;
    std::byte* bytes = nullptr;
    TENON_ASSIGN(Tensor packed, Tensor::allocate(w.dtype(), {w.shape()[0], elements * padded}, &bytes));
    const auto* from = reinterpret_cast<const uint16_t*>(w.data());
    auto* to = reinterpret_cast<uint16_t*>(bytes);
    std::fill_n(to, packed.numel(), uint16_t{0});
    for (int64_t f = 0; f < w.shape()[0]; ++f)
      for (int64_t c = 0; c < taken; ++c)
        for (int64_t e = 0; e < elements; ++e) to[(f * elements + e) * padded + c] = *from++;
    return packed;
  }

  std::optional<DeviceSource> code(const Problem& p, const Config& config, int) const override {
    const Sm90Tile* tile = find_tile(conv_tiles(), config.text);
    if (tile == nullptr) return std::nullopt;
    const Window2d window = *Window2d::of(p);
    std::vector<std::string> defines = conv_defines(p);
    const auto define = [&](const char* name, int64_t value) { defines.push_back(fmt::format("{}={}", name, value)); };
    for (const char* text : {"VECTOR=ELEMENT", "NORM_X=0", "NORM_RESIDUAL=0", "MOMENTS=0"}) defines.push_back(text);
    define("COLUMNS", filters(p));
    define("DEPTH", depth(p, window));
    if (!window.is_pixel()) {
      define("WINDOWS", 1);
      define("KERNEL_W", window.kernel.w);
      define("CHANNELS", channels(p));
      define("DILATION_H", window.dilation.h);
      define("DILATION_W", window.dilation.w);
    }
    return tile_code(*tile, depth(p, window), std::move(defines));
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config& config, const Device& device,
                                         Function function) const override {
    if (is_cudnn(config)) return load_cudnn_conv(p, config, device);
    const Sm90Tile* tile = find_tile(conv_tiles(), config.text);
    if (tile == nullptr) return error(ErrorCode::kInternal, "{} has no config '{}'", id(), config.text);
    TENON_TRY(allow_shared_memory(device, function, tile->shared_bytes(depth(p, *Window2d::of(p)))));
    return std::unique_ptr<Launcher>(std::make_unique<ConvLauncher>(p, device, function, *tile));
  }

 private:
  // Best first for this many images.
  static std::vector<Config> configs_for(const Problem& p, int64_t images, int multiprocessors) {
    constexpr double kClock = 1.7e9;
    const Window2d window = *Window2d::of(p);
    const ir::Shape& y = p.outputs[0].shape;
    int64_t rows = std::max<int64_t>(images, 1);
    for (size_t axis = 1; axis + 1 < y.size(); ++axis)
      rows *= y[axis].is_const() ? std::max<int64_t>(y[axis].value(), 1) : 28;
    std::vector<Config> configs;
    for (const Sm90Tile& tile : conv_tiles()) {
      // Behind the last of a window's elements lie pixels: no block may count chunks that do not exist.
      const bool few = tile.schedule == Schedule::kFewRows;
      if (few && !window.is_pixel() && tile.chunks(depth(p, window)) * tile.cluster * kChunk != depth(p, window))
        continue;
      const double clocks = estimated_clocks(tile, rows, filters(p), depth(p, window),
                                             {.activation = !p.attrs.text("activation").empty()}, multiprocessors);
      configs.push_back({.text = tile.text(), .numerics = tile.numerics(), .cost = clocks / kClock});
    }
    sort_by_cost(configs);
    return configs;
  }
};

}  // namespace

const Kernel& conv_sm90_kernel() {
  static const ConvSm90 kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
