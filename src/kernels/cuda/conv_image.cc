// conv of images whose channels come first, where y's come last; the device side is conv_image.cu.
#include "kernels/cuda/conv.h"
#include "kernels/cuda/device/conv_image_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {
namespace {

// As in conv_image.cu.
struct ImageTile {
  static constexpr int64_t kRows = 8, kColumns = 16, kVector = 4;  // windows; pixels that are read at once
  int64_t channels, skip, lead, pairs_of_row, lines, filters, panels, steps;
  Window2d window;

  explicit ImageTile(const Problem& p) : window(*Window2d::of(p)) {
    const ir::Shape& w = p.inputs[kConvW].shape;
    filters = w[0].value(), channels = w[1].value();
    skip = (kVector - window.before.w % kVector) % kVector;
    lead = window.step.w % 2 == 0 && window.dilation.w == 1 ? skip % 2 : 0;
    pairs_of_row = (lead + window.kernel.w + 1) / 2, lines = channels * window.kernel.h;
    panels = filters > 32 ? 8 : 4;
    steps = blocks_for(lines * pairs_of_row, 8);
  }
  int64_t filter_blocks() const { return blocks_for(filters, panels * 8); }
  int64_t weights() const { return steps * panels * 128; }  // of a block of filters
  int64_t patch() const {
    const int64_t height = (kRows - 1) * window.step.h + (window.kernel.h - 1) * window.dilation.h + 1,
                  width = skip + (kColumns - 1) * window.step.w + (2 * pairs_of_row - lead - 1) * window.dilation.w + 1;
    return channels * height * blocks_for(width, kVector) * kVector;
  }
  int64_t shared_bytes() const { return 2 * (weights() + patch()) + 4 * panels * 8; }  // the bias is f32
};

class ConvImageLauncher final : public Launcher {
 public:
  ConvImageLauncher(const Problem& problem, const Device& device, Function function)
      : device_(device), function_(function), tile_(problem) {}

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(kConvX), y = args.output();
    if (x.dim(1) != tile_.channels) {
      return error(ErrorCode::kBadInput, "images of {} channels do not fit weights of {}", x.dim(1), tile_.channels);
    }
    if (y.numel() == 0) return {};
    if (x.numel() > INT32_MAX) return error(ErrorCode::kUnsupported, "a tensor of more than 2^31 - 1 elements");
    const Images out = Images::of(y);
    const int64_t tiles =
        out.count * blocks_for(out.height, ImageTile::kRows) * blocks_for(out.width, ImageTile::kColumns);
    if (tiles > INT32_MAX / 2) return error(ErrorCode::kUnsupported, "images of too many pixels");
    constexpr int64_t kBlocksOfSm = 4;
    Launch launch;
    launch.grid[0] = static_cast<unsigned>(std::min<int64_t>(tiles, kBlocksOfSm * device_.multiprocessors()));
    launch.grid[1] = static_cast<unsigned>(tile_.filter_blocks());
    launch.block[0] = 128;
    launch.shared_bytes = static_cast<unsigned>(tile_.shared_bytes());
    return launch_with(device_, function_, args, launch,
                       ConvImageArgs{.x = x.data,
                                     .w = args.input(kConvW).data,
                                     .bias = args.input(kConvBias).data,
                                     .residual = args.input(kConvResidual).data,
                                     .y = y.data,
                                     .images = static_cast<int>(out.count),
                                     .height = static_cast<int>(x.dim(2)),
                                     .width = static_cast<int>(x.dim(3)),
                                     .out_height = static_cast<int>(out.height),
                                     .out_width = static_cast<int>(out.width),
                                     .before_h = static_cast<int>(tile_.window.before.h)});
  }

 private:
  const Device& device_;
  Function function_;
  ImageTile tile_;
};

class ConvImage final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.conv.image"; }
  bool in_place(const Problem&, int index) const override { return index == kConvResidual; }

  Support supports(const Problem& p) const override {
    if (p.op != Op::k_conv || p.attrs.integer("channels_last") != 2) return Support::no("x has its channels last");
    if (p.constant.size() <= kConvW || !p.constant[kConvW]) return Support::no("the weight is not constant");
    const DType dtype = p.outputs[0].dtype;
    if (dtype != DType::kF16 && dtype != DType::kBF16) return Support::no("computes f16 and bf16 only");
    if (!is_row_dtype(p.inputs[kConvX].dtype))
      return Support::no(fmt::format("x is {}", dtype_name(p.inputs[kConvX].dtype)));
    if (p.inputs[kConvX].rank() != 4) return Support::no("has two spatial axes only");
    if (p.attrs.integer("group") != 1) return Support::no("has one group only");
    if (const auto window = Window2d::of(p); !window.ok()) return Support::no(window.status().message());
    for (const ir::Dim& size : p.inputs[kConvW].shape)
      if (size.value() < 1) return Support::no("the weight is empty");
    const ImageTile tile(p);
    constexpr int64_t kMostSteps = 32, kMostShared = 96 * 1024;
    const bool small = tile.steps <= kMostSteps && tile.channels <= 64 && tile.shared_bytes() <= kMostShared;
    return small ? Support::yes() : Support::no("the window is too large");
  }

  std::optional<TensorType> packed_type(const Problem& p, int index) const override {
    if (index != kConvW) return std::nullopt;
    const ImageTile tile(p);
    return TensorType{p.inputs[kConvW].dtype, {ir::Dim(tile.filter_blocks() * tile.weights())}};
  }

  // Lane l of a warp holds, of each panel, column l / 4: a filter of which the threads l / 8 of quads have the results.
  Result<Tensor> prepack(const Problem& p, int, const Tensor& w) const override {
    const ImageTile tile(p);
    std::byte* bytes = nullptr;
    TENON_ASSIGN(Tensor packed, Tensor::allocate(w.dtype(), {tile.filter_blocks() * tile.weights()}, &bytes));
    auto* to = reinterpret_cast<uint16_t*>(bytes);
    const auto* from = reinterpret_cast<const uint16_t*>(w.data());
    const auto at = [&](int64_t filter, int64_t pair, int64_t element) -> uint16_t {
      const int64_t line = pair / tile.pairs_of_row, s = pair % tile.pairs_of_row * 2 + element - tile.lead;
      if (filter >= tile.filters || line >= tile.lines || s < 0 || s >= tile.window.kernel.w) return 0;
      return from[(filter * tile.lines + line) * tile.window.kernel.w + s];
    };
    for (int64_t block = 0; block < tile.filter_blocks(); ++block)
      for (int64_t step = 0; step < tile.steps; ++step)
        for (int64_t panel = 0; panel < tile.panels; panel += 2)
          for (int64_t lane = 0; lane < 32; ++lane)
            for (int64_t e = 0; e < 8; ++e) {
              const int64_t column = lane / 4, own = panel + e / 4;
              const int64_t filter = block * tile.panels * 8 + own / 4 * 32 + column / 2 * 8 + own % 4 * 2 + column % 2;
              *to++ = at(filter, step * 8 + e / 2 % 2 * 4 + lane % 4, e % 2);
            }
    return packed;
  }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    const ImageTile tile(p);
    std::vector<std::string> defines = conv_defines(p);
    defines.push_back(fmt::format("X={}", dtype_name(p.inputs[kConvX].dtype)));
    const auto define = [&](const char* name, int64_t value) { defines.push_back(fmt::format("{}={}", name, value)); };
    define("CHANNELS", tile.channels);
    define("FILTERS", tile.filters);
    define("PANELS", tile.panels);
    define("KERNEL_H", tile.window.kernel.h);
    define("KERNEL_W", tile.window.kernel.w);
    define("STEP_H", tile.window.step.h);
    define("STEP_W", tile.window.step.w);
    define("DILATION_H", tile.window.dilation.h);
    define("DILATION_W", tile.window.dilation.w);
    define("BEFORE_W", tile.window.before.w);
    return DeviceSource{"conv_image.cu", "conv_image", std::move(defines)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    TENON_TRY(allow_shared_memory(device, function, static_cast<int>(ImageTile(p).shared_bytes())));
    return std::unique_ptr<Launcher>(std::make_unique<ConvImageLauncher>(p, device, function));
  }
};

}  // namespace

const Kernel& conv_image_kernel() {
  static const ConvImage kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
