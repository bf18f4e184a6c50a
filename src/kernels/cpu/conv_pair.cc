// A depthwise conv together with the product of every pixel (1 x 1) ahead of it, band by band: the image between them, which
// is large where channels were widened, never leaves the cache. A thread has some rows of y; for each band of them it computes
// the rows of the image between that the windows see, as far as the band before did not see them too, and slides the windows
// over them. Both by the kernels that compute them alone (conv.cc, windows.cc), so the bits are theirs.
#include <array>
#include <atomic>
#include <cstring>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/split.h"
#include "ops/window.h"

namespace tenon::kernels::cpu {
namespace {

constexpr int64_t kLeastBetween = 1 << 20;  // bytes of an image: smaller ones stay in the cache anyway
constexpr int64_t kBandBytes = 256 << 10;   // of the image between: a part of the smallest second-level caches

enum ImageAxis { kImageBatch, kImageHeight, kImageWidth, kImageChannels };
using ImageShape = std::array<int64_t, 4>;

// What a kernel of conv is given for one band.
class BandCall {
 public:
  BandCall(const ImageShape& x, const TensorArg& w, const TensorArg& bias, const ImageShape& y, const ImageShape& pads)
      : x_(x), y_(y), pads_(pads), inputs_{{DType::kF32, x_, nullptr}, w, bias}, outputs_{{DType::kF32, y_, nullptr}}, sizes_{{"pads", pads_}} {}
  BandCall(const BandCall&) = delete;
  BandCall& operator=(const BandCall&) = delete;

  RunArgs args(void* x = nullptr, void* y = nullptr, void* workspace = nullptr) {
    inputs_[kX].data = x;
    outputs_[0].data = y;
    return {.inputs = inputs_, .outputs = outputs_, .sizes = sizes_, .workspace = workspace};
  }

 private:
  ImageShape x_, y_, pads_;
  TensorArg inputs_[3], outputs_[1];
  ops::Sizes sizes_[1];
};

class ConvPairLauncher final : public Launcher {
 public:
  ConvPairLauncher(const Problem& problem, std::unique_ptr<Launcher> pixels, std::unique_ptr<Launcher> windows)
      : attrs_(problem.attrs),
        window_(ir::const_values(problem.inputs[kW].shape)),
        pixel_w_(ir::const_values(problem.before->inputs[kW].shape)),
        ahead_(problem.before->inputs.size() + 1),
        pixels_(std::move(pixels)),
        windows_(std::move(windows)) {}

  // Asked with this step's own arguments.
  size_t workspace(const RunArgs& own, int threads) const override {
    return own.output().numel() == 0 ? 0 : Plan(*this, own).bytes() * static_cast<size_t>(threads);
  }

  Status launch(const RunArgs& run) const override {
    const RunArgs own{.inputs = run.inputs.subspan(ahead_), .outputs = run.outputs, .sizes = run.sizes};
    if (own.output().numel() == 0) return {};
    const Plan plan(*this, own);
    const int threads = run.pool == nullptr ? 1 : run.pool->threads();
    const int64_t rows = own.output().dim(kImageBatch) * plan.g.out[1];
    std::atomic<bool> failed = false;
    const auto body = [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        auto* memory = static_cast<std::byte*>(run.workspace) + plan.bytes() * static_cast<size_t>(i);
        if (!compute(run, own, plan, share(rows, i, threads), memory)) failed = true;
      }
    };
    if (run.pool == nullptr)
      body(0, 1, 0);
    else
      run.pool->parallel_for(threads, body);
    return failed ? error(ErrorCode::kInternal, "a kernel refused a band of an image") : Status();
  }

 private:
  // How a run is cut, and a thread's memory. Axes 1 and 2 of the geometry are height and width.
  struct Plan {
    Plan(const ConvPairLauncher& pair, const RunArgs& own)
        : g(ops::Window::of(pair.attrs_, own, own.input(kX).shape, own.output().shape, std::span(pair.window_).subspan(2), 1)),
          channels(own.input(kX).dim(kImageChannels)),
          row(g.in[2] * channels) {
      rows = std::clamp<int64_t>((kBandBytes / (row * 4) - g.kernel[1]) / g.stride[1] + 1, 1, g.out[1]);
      const auto lines = [](size_t bytes) { return (bytes + kCacheLine - 1) / kCacheLine * kCacheLine; };
      image_bytes = lines(static_cast<size_t>(seen(rows) * row) * 4);
      BandCall pixels(pair.pixels_of(*this, seen(rows)), {DType::kF32, pair.pixel_w_, nullptr}, {}, image_of(seen(rows)), {});
      BandCall windows(image_of(seen(rows)), own.input(kW), own.input(kBias), y_of(rows), pads());
      pixel_bytes = lines(pair.pixels_->workspace(pixels.args(), 1));
      window_bytes = lines(pair.windows_->workspace(windows.args(), 1));
    }

    size_t bytes() const { return image_bytes + pixel_bytes + window_bytes; }
    // Rows of the image between that so many rows of y see.
    int64_t seen(int64_t y_rows) const { return (y_rows - 1) * g.stride[1] + g.kernel[1]; }
    ImageShape image_of(int64_t image_rows) const { return {1, image_rows, g.in[2], channels}; }
    ImageShape y_of(int64_t y_rows) const { return {1, y_rows, g.out[2], channels}; }
    ImageShape pads() const { return {0, g.before[2], 0, g.after[2]}; }  // rows beyond the image are in the band

    ops::Window g;
    int64_t channels, row, rows = 0;  // floats of a row of the image between; rows of y in a band
    size_t image_bytes = 0, pixel_bytes = 0, window_bytes = 0;
  };

  ImageShape pixels_of(const Plan& plan, int64_t rows) const { return {1, rows, plan.g.in[2], pixel_w_[1]}; }

  // Rows of y, counted over all images; false: a kernel refused them.
  bool compute(const RunArgs& run, const RunArgs& own, const Plan& plan, Range rows, std::byte* memory) const {
    for (int64_t first = rows.begin; first < rows.end;) {
      const int64_t image = first / plan.g.out[1], begin = first % plan.g.out[1];
      const int64_t end = std::min(plan.g.out[1], begin + rows.end - first);
      if (!compute_image(run, own, plan, image, {begin, end}, memory)) return false;
      first += end - begin;
    }
    return true;
  }

  bool compute_image(const RunArgs& run, const RunArgs& own, const Plan& plan, int64_t image, Range rows, std::byte* memory) const {
    const ops::Window& g = plan.g;
    auto* between = reinterpret_cast<float*>(memory);
    void *pixel_scratch = memory + plan.image_bytes, *window_scratch = memory + plan.image_bytes + plan.pixel_bytes;
    const int64_t x_row = g.in[2] * pixel_w_[1], y_row = g.out[2] * plan.channels;
    float* x = run.input(kX).as<float>() + image * g.in[1] * x_row;
    float* y = own.output().as<float>() + image * g.out[1] * y_row;
    int64_t known_end = 0, known_begin = 0;  // rows of the image between that the band has
    for (int64_t at = rows.begin; at < rows.end; at += plan.rows) {
      const int64_t count = std::min(plan.rows, rows.end - at);
      const int64_t begin = at * g.stride[1] - g.before[1], end = begin + plan.seen(count);
      int64_t made = begin;  // the first row that is not there
      if (at > rows.begin && known_end > begin) {
        std::memmove(between, between + (begin - known_begin) * plan.row, static_cast<size_t>((known_end - begin) * plan.row) * 4);
        made = known_end;
      }
      const Range inside{std::clamp<int64_t>(made, 0, g.in[1]), std::clamp<int64_t>(end, 0, g.in[1])};
      const auto clear = [&](int64_t from, int64_t to) {
        if (from < to) std::fill_n(between + (from - begin) * plan.row, (to - from) * plan.row, 0.0f);
      };
      clear(made, std::min<int64_t>(end, 0));
      clear(std::max(made, g.in[1]), end);
      if (inside.begin < inside.end) {
        const int64_t new_rows = inside.end - inside.begin;
        BandCall call(pixels_of(plan, new_rows), run.input(kW), ahead_ > kBias + 1 ? run.input(kBias) : TensorArg{}, plan.image_of(new_rows), {});
        if (!pixels_->launch(call.args(x + inside.begin * x_row, between + (inside.begin - begin) * plan.row, pixel_scratch)).ok()) return false;
      }
      BandCall call(plan.image_of(end - begin), own.input(kW), own.input(kBias), plan.y_of(count), plan.pads());
      if (!windows_->launch(call.args(between, y + at * y_row, window_scratch)).ok()) return false;
      known_begin = begin, known_end = end;
    }
    return true;
  }

  Attrs attrs_;
  std::vector<int64_t> window_, pixel_w_;  // the weights' shapes
  size_t ahead_;                           // arguments of the step ahead
  std::unique_ptr<Launcher> pixels_, windows_;
};

class ConvPairKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.conv_pair.f32"; }
  std::string_view absorbs() const override { return "cpu.conv.f32"; }

  Support supports(const Problem& problem) const override {
    if (problem.before == nullptr) return Support::no("no product of every pixel stands ahead of it");
    if (Support s = depthwise_conv_kernel().supports(problem); !s) return s;
    if (Support s = supports_pixels(*problem.before); !s) return s;
    const TensorType& between = problem.before->outputs[0];
    if (problem.inputs[kX] != between || problem.outputs[0].rank() != 4) return Support::no("the product ahead is not what it reads, or no image");
    if (problem.has(kResidual)) return Support::no("it adds a residual");
    for (const int64_t d : problem.attrs.integers("dilations"))
      if (d != 1) return Support::no("its windows are dilated");
    int64_t bytes = 4;
    for (const int axis : {kImageHeight, kImageWidth, kImageChannels}) {
      const ir::Dim& size = between.shape[static_cast<size_t>(axis)];
      if (!size.is_const()) return Support::no("the image's size is symbolic");
      bytes *= size.value();
    }
    if (bytes < kLeastBetween) return Support::no(fmt::format("an image of {} KB between them stays in the cache", bytes >> 10));
    return Support::yes();
  }

  // The weights are those of the kernel that computes it alone.
  std::optional<TensorType> packed_type(const Problem& problem, int index) const override {
    return depthwise_conv_kernel().packed_type(problem, index);
  }
  Result<Tensor> prepack(const Problem& problem, int index, const Tensor& w) const override {
    return depthwise_conv_kernel().prepack(problem, index, w);
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&, const VectorCode& code) const override {
    return std::make_unique<ConvPairLauncher>(problem, std::move(*conv_kernel().prepare_for(*problem.before, {}, code.isa)),
                                              std::move(*depthwise_conv_kernel().prepare_for(problem, {}, code.isa)));
  }

 private:
  static Support supports_pixels(const Problem& conv) {
    if (Support s = conv_kernel().supports(conv); !s) return s;
    const std::vector<int64_t> w = ir::const_values(conv.inputs[kW].shape);
    bool alone = w.size() == 4 && w[2] == 1 && w[3] == 1 && conv.attrs.integer("group") == 1;
    for (const int64_t s : conv.attrs.integers("strides")) alone = alone && s == 1;
    for (const ir::Dim& pad : conv.attrs.shape("pads")) alone = alone && pad == ir::Dim(0);
    if (!alone) return Support::no("the conv ahead sees more than one pixel");
    if (conv.has(kResidual)) return Support::no("the conv ahead adds a residual");
    return Support::yes();
  }
};

}  // namespace

const CpuKernel& conv_pair_kernel() {
  static const ConvPairKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
