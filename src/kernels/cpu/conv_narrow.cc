// conv with factors of 8 or 16 bits on images whose channels are last: y = activation(x * w + bias) + residual, or the
// activation of the sum, where all is bf16, or x and w are rounded to 8 bits (the attribute `factors`).
//
// A product of rows (kernels/cpu/narrow_gemm.h): a pixel of y is the row of all that its window sees, [tap, channel],
// zeros beyond the image; rows are put together some hundreds at a time.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/narrow_gemm.h"
#include "ops/quantize_rows.h"
#include "ops/window.h"

namespace tenon::kernels::cpu {
namespace {

struct NarrowGeometry {
  ops::Window window;
  int64_t channels = 0, filters = 0, pixels = 0;  // pixels: of y, all images
  bool pointwise = false;                         // a pixel of y is made of the same pixel of x

  NarrowGeometry(const Attrs& attrs, const RunArgs& args, std::span<const int64_t> kernel)
      : window(ops::Window::of(attrs, args, args.inputs[kX].shape, args.outputs[0].shape, kernel, 1)),
        channels(args.inputs[kX].dim(-1)),
        filters(args.outputs[0].dim(-1)),
        pixels(size_product(args.outputs[0].shape, 0, args.outputs[0].rank() - 1)) {
    pointwise = window.kernel_size() == 1 && window.in == window.out && window.before == std::array<int64_t, 3>{};
  }
  int64_t k() const { return window.kernel_size() * channels; }
};

// What the windows of pixels see.
class WindowSource final : public RowSource {
 public:
  // Images of elements of so many bytes, of which `outside` are those beyond the edges.
  WindowSource(const NarrowGeometry& g, const void* x, size_t element, int outside)
      : g_(g), x_(static_cast<const std::byte*>(x)), tap_(g.channels * static_cast<int64_t>(element)), outside_(outside) {}

  void write(int64_t row, std::byte* out) const override {
    const ops::Window& w = g_.window;
    std::array<int64_t, 3> at{};
    for (size_t i = 3; i-- > 0; row /= w.out[i]) at[i] = row % w.out[i];
    for (int64_t a = 0; a < w.kernel[0]; ++a) {
      for (int64_t b = 0; b < w.kernel[1]; ++b) {
        const int64_t plane = w.at(0, at[0], a), line = w.at(1, at[1], b);
        const bool inside = plane >= 0 && plane < w.in[0] && line >= 0 && line < w.in[1];
        const int64_t first_pixel = ((row * w.in[0] + plane) * w.in[1] + line) * w.in[2];
        out = inside ? write_line(x_ + first_pixel * tap_, w.at(2, at[2], 0), out) : fill(w.kernel[2], out);
      }
    }
  }

 private:
  std::byte* fill(int64_t taps, std::byte* out) const {
    if (taps > 0) std::memset(out, outside_, static_cast<size_t>(taps * tap_));
    return out + taps * tap_;
  }
  // What the window sees of one line of the image, from `first` on.
  std::byte* write_line(const std::byte* line, int64_t first, std::byte* out) const {
    const ops::Window& w = g_.window;
    // Pixels that follow each other are copied at once.
    const int64_t step = w.dilation[2], runs = step == 1 ? 1 : w.kernel[2], length = step == 1 ? w.kernel[2] : 1;
    for (int64_t i = 0; i < runs; ++i) {
      const int64_t begin = first + i * step, end = begin + length;
      const int64_t from = std::clamp<int64_t>(begin, 0, w.in[2]), to = std::clamp<int64_t>(end, from, w.in[2]);
      if (from == to) {
        out = fill(length, out);
        continue;
      }
      out = fill(from - begin, out);
      std::memcpy(out, line + from * tap_, static_cast<size_t>((to - from) * tap_));
      out = fill(end - to, out + (to - from) * tap_);
    }
    return out;
  }

  const NarrowGeometry& g_;
  const std::byte* x_;
  int64_t tap_;  // bytes
  int outside_;  // each byte
};

class NarrowConvLauncher final : public Launcher {
 public:
  NarrowConvLauncher(const Problem& problem, const VectorCode& code, Factors factors)
      : code_(code),
        factors_(factors),
        attrs_(problem.attrs),
        kernel_(ir::const_values(problem.inputs[kW].shape)),
        channels_(kernel_[1]),
        activation_(activation_of(problem.attrs)),
        x_scale_(ops::given_scale(problem.attrs)),
        activate_sum_(problem.attrs.integer("activate_sum") != 0) {
    kernel_.erase(kernel_.begin(), kernel_.begin() + 2);
  }

  size_t workspace(const RunArgs& args, int threads) const override {
    const NarrowGeometry g(attrs_, args, kernel_);
    const bool bf16 = args.inputs[kX].dtype == DType::kBF16;
    const size_t image = rounds_images(g) ? rounded_bytes(args.inputs[kX].numel()) : 0;
    return image + narrow_gemm_workspace(code_, factors_, bf16, g.pixels, g.k(), threads, !g.pointwise);
  }

  Status launch(const RunArgs& args) const override {
    const NarrowGeometry g(attrs_, args, kernel_);
    if (g.channels != channels_)
      return error(ErrorCode::kBadInput, "an image of {} channels, not {}", g.channels, channels_);
    if (g.pixels == 0) return {};
    const TensorArg x = args.input(kX);
    auto* memory = static_cast<std::byte*>(args.workspace);
    const bool rounds = rounds_images(g);
    const void* images = x.data;
    if (rounds) {
      round_images(x, memory, args.pool);
      images = memory;
      memory += rounded_bytes(x.numel());
    }
    const WindowSource source(g, images, rounds ? 1 : dtype_size(x.dtype), rounds ? x_scale_.zero : 0);
    const NarrowGemm product{.factors = factors_,
                             .x = args.input(kX).data,
                             .source = g.pointwise ? nullptr : &source,
                             .x_scale = x_scale_,
                             .source_is_rounded = rounds,
                             .w = args.input(kW).as<const std::byte>(),
                             .y = args.output().data,
                             .rows = g.pixels,
                             .k = g.k(),
                             .columns = g.filters,
                             .epilogue = {.bias = args.input(kBias).data,
                                          .residual = args.input(kResidual).data,
                                          .residual_stride = g.filters,
                                          .activation = activation_,
                                          .activate_sum = activate_sum_,
                                          .bf16 = args.output().dtype == DType::kBF16}};
    narrow_gemm(code_, product, memory, args.pool);
    return {};
  }

 private:
  // Whether all of x is rounded first, by one scale, and not each window's share of it.
  bool rounds_images(const NarrowGeometry& g) const {
    const DotCode& dot = factors_ == Factors::kInt8Quads ? code_.int8_quads : code_.int8;
    return x_scale_.step != 0 && !g.pointwise && !dot.wide;
  }
  static size_t rounded_bytes(int64_t elements) { return static_cast<size_t>(whole_lines(ceil_div(elements, 4)) * 4); }
  void round_images(const TensorArg& x, std::byte* out, ThreadPool* pool) const {
    constexpr int64_t kPiece = 4096;  // elements
    const int64_t count = x.numel(), size = static_cast<int64_t>(dtype_size(x.dtype));
    for_range(pool, ceil_div(count, kPiece), count, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin * kPiece; i < std::min(count, end * kPiece); i += kPiece) {
        const int64_t piece = std::min(kPiece, count - i);
        code_.quantize_row(static_cast<const std::byte*>(x.data) + i * size, x.dtype == DType::kBF16, piece, x_scale_, piece, false, out + i);
      }
    });
  }

  const VectorCode& code_;
  Factors factors_;
  Attrs attrs_;
  std::vector<int64_t> kernel_;
  int64_t channels_;
  Activation activation_;
  ops::RowScale x_scale_;
  bool activate_sum_;
};

// A convolution of bf16 for an instruction set that has no such products: image by image in f32.
class WideningConvLauncher final : public Launcher {
 public:
  WideningConvLauncher(const Problem& problem, const VectorCode& code, std::unique_ptr<Launcher> wide)
      : code_(code),
        wide_(std::move(wide)),
        kernel_(ir::const_values(problem.inputs[kW].shape)),
        activation_(activation_of(problem.attrs)),
        activate_sum_(problem.attrs.integer("activate_sum") != 0) {}

  // The same in f32, without what is done with the sums.
  static Problem wide_problem(Problem problem) {
    for (TensorType& type : problem.inputs) type.dtype = DType::kF32;
    problem.outputs[0].dtype = DType::kF32;
    problem.present = {true, true, false, false};
    problem.attrs.set("activation", std::string());
    return problem;
  }

  size_t workspace(const RunArgs& args, int threads) const override {
    const Image image(args, kernel_, nullptr);
    return image.floats() * 4 + wide_->workspace(image.args(args), threads);
  }

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(kX), y = args.output();
    if (x.dim(-1) != kernel_[1])
      return error(ErrorCode::kBadInput, "an image of {} channels, not {}", x.dim(-1), kernel_[1]);
    if (y.numel() == 0) return {};
    const Image image(args, kernel_, static_cast<float*>(args.workspace));
    const int64_t k = image.depth, filters = kernel_[0], groups = padded_depth(Factors::kBf16, k) / 2;
    const auto* w = args.input(kW).as<const std::byte>();
    // Of an odd depth the last pair of a panel reaches into the next.
    const int64_t panels = ceil_div(filters, kPanel);
    for_range(k % 2 == 0 ? args.pool : nullptr, panels, filters * k, [&](int64_t begin, int64_t end, int) {
      for (int64_t p = begin; p < end; ++p)
        code_.widen_bf16(w + p * groups * 4 * kPanel, ceil_div(k, 2), image.w + p * k * kPanel);
    });
    const Epilogue epilogue{.bias = args.input(kBias).data,
                            .residual = args.input(kResidual).data,
                            .residual_stride = filters,
                            .activation = activation_,
                            .activate_sum = activate_sum_,
                            .bf16 = true};
    const int64_t x_size = x.numel() / x.dim(0), pixels = y.numel() / y.dim(0) / filters;
    for (int64_t i = 0; i < x.dim(0); ++i) {
      for_range(args.pool, x_size, x_size, [&](int64_t begin, int64_t end, int) {
        code_.widen(x.as<const uint16_t>() + i * x_size + begin, end - begin, image.x + begin);
      });
      TENON_TRY(wide_->launch(image.args(args)));
      for_range(args.pool, pixels, pixels * filters, [&](int64_t begin, int64_t end, int) {
        const int64_t first = i * pixels + begin;
        code_.epilogue(image.y + begin * filters, filters, y.as<uint16_t>() + first * filters, filters,
                       static_cast<int>(end - begin), filters, epilogue.at(first, 0));
      });
    }
    return {};
  }

 private:
  // One image and the weights in f32, in the workspace.
  struct Image {
    std::array<int64_t, 2 + ops::kMostSpatialAxes> x_shape{}, y_shape{};
    int64_t depth, w_size, x_size, y_size;  // depth: elements of a filter; sizes: floats of whole lines
    float *w = nullptr, *x = nullptr, *y = nullptr;
    std::array<TensorArg, 4> inputs{};
    std::array<TensorArg, 1> outputs{};

    Image(const RunArgs& all, const std::vector<int64_t>& kernel, float* memory)
        : depth(size_product(kernel, 1, static_cast<int>(kernel.size()))),
          w_size(packed_size(depth, kernel[0]) + kPanel) {
      const size_t rank = kernel.size();
      const auto first_of = [&](std::span<const int64_t> from, auto& shape) {
        std::copy(from.begin(), from.end(), shape.begin());
        shape[0] = 1;
        return whole_lines(size_product(shape, 0, static_cast<int>(rank)));
      };
      x_size = first_of(all.inputs[kX].shape, x_shape);
      y_size = first_of(all.outputs[0].shape, y_shape);
      if (memory != nullptr) {
        w = memory;
        x = w + w_size;
        y = x + x_size;
      }
      inputs[kX] = {DType::kF32, {x_shape.data(), rank}, x};
      inputs[kW] = {DType::kF32, kernel, w};
      outputs[0] = {DType::kF32, {y_shape.data(), rank}, y};
    }
    size_t floats() const { return static_cast<size_t>(w_size + x_size + y_size); }
    RunArgs args(const RunArgs& all) const {
      RunArgs own = all;
      own.inputs = inputs;
      own.outputs = outputs;
      own.workspace = y == nullptr ? nullptr : y + y_size;
      return own;
    }
  };

  const VectorCode& code_;
  std::unique_ptr<Launcher> wide_;
  std::vector<int64_t> kernel_;
  Activation activation_;
  bool activate_sum_;
};

class NarrowConvKernel final : public CpuKernel {
 public:
  // `name`: of the attribute.
  NarrowConvKernel(Factors factors, std::string_view id, std::string_view name)
      : factors_(factors), id_(id), name_(name) {}
  std::string_view id() const override { return id_; }

  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_conv) return Support::no("computes conv only");
    const std::string& factors = problem.attrs.text("factors");
    const bool integers = is_integer(factors_);
    if (factors != name_)
      return Support::no(factors.empty() ? fmt::format("factors of {} are not asked for", name_)
                                         : fmt::format("factors of {} are asked for", factors));
    if (!integers) {
      if (Support s = all_of(problem, DType::kBF16); !s) return s;
    } else if (const DType x = problem.inputs[kX].dtype; x != DType::kBF16 && x != DType::kF32) {
      return Support::no(fmt::format("input 0 is {}, f32 or bf16 is needed", dtype_name(x)));
    }
    if (!ops::channels_last(problem.attrs)) return Support::no("the channels are not last");
    if (problem.attrs.integer("group") != 1) return Support::no("filters are in groups");
    if (!is_constant(problem, kW)) return Support::no("the weights are computed when run");
    const ir::Shape& w = problem.inputs[kW].shape;
    if (!ir::all_const(w)) return Support::no("the weights' shape is symbolic");
    for (const ir::Dim& size : w)
      if (size.value() < 1) return Support::no("the weights are empty");
    if (const int64_t k = depth(ir::const_values(w)); integers && k > ops::kMaxInt8Depth)
      return Support::no(fmt::format("sums of {} products may leave 32 bits", k));
    return Support::yes();
  }

  bool in_place(const Problem&, int index) const override { return index == kResidual; }

  std::optional<TensorType> packed_type(const Problem& problem, int index) const override {
    if (index != kW) return std::nullopt;
    const std::vector<int64_t> w = ir::const_values(problem.inputs[kW].shape);
    return TensorType{dtype(), {ir::Dim(packed_bytes(factors_, depth(w), w[0]) / bytes_of(factors_))}};
  }

  Result<Tensor> prepack(const Problem&, int, const Tensor& w) const override {
    const int64_t k = depth(w.shape()), n = w.shape()[0], channels = w.shape()[1], taps = k / channels;
    std::byte *bytes = nullptr, *ordered_bytes = nullptr;
    TENON_ASSIGN(Tensor packed, Tensor::allocate(dtype(), {packed_bytes(factors_, k, n) / bytes_of(factors_)}, &bytes));
    TENON_ASSIGN(const Tensor ordered, Tensor::allocate(DType::kF32, {k, n}, &ordered_bytes));
    auto* out = reinterpret_cast<float*>(ordered_bytes);
    for (int64_t f = 0; f < n; ++f)
      for (int64_t c = 0; c < channels; ++c)
        for (int64_t tap = 0; tap < taps; ++tap)
          out[(tap * channels + c) * n + f] = static_cast<float>(w.at((f * channels + c) * taps + tap));
    pack_narrow(factors_, out, k, n, bytes);
    return packed;
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    if (factors_ == Factors::kBf16 && code.bf16.tile == nullptr) {
      auto wide = conv_kernel().prepare_for(WideningConvLauncher::wide_problem(problem), {}, code.isa);
      return std::make_unique<WideningConvLauncher>(problem, code, std::move(*wide));
    }
    return std::make_unique<NarrowConvLauncher>(problem, code, factors_);
  }

 private:
  DType dtype() const { return is_integer(factors_) ? DType::kI8 : DType::kBF16; }
  // Elements of a filter.
  static int64_t depth(const std::vector<int64_t>& w) { return size_product(w, 1, static_cast<int>(w.size())); }

  Factors factors_;
  std::string_view id_, name_;
};

}  // namespace

const CpuKernel& conv_int8_kernel() {
  static const NarrowConvKernel kernel(Factors::kInt8, "cpu.conv.int8", "int8");
  return kernel;
}

const CpuKernel& conv_int8_quads_kernel() {
  static const NarrowConvKernel kernel(Factors::kInt8Quads, "cpu.conv.int8_quads", "int8_quads");
  return kernel;
}

const CpuKernel& conv_bf16_kernel() {
  static const NarrowConvKernel kernel(Factors::kBf16, "cpu.conv.bf16", "");
  return kernel;
}

}  // namespace tenon::kernels::cpu
