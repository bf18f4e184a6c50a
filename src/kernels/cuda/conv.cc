#include "kernels/cuda/conv.h"

#include "ops/activation.h"

namespace tenon::kernels::cuda {

bool Window2d::is_pixel() const {
  const auto is = [](Pair p, int64_t n) { return p.h == n && p.w == n; };
  return is(kernel, 1) && is(step, 1) && is(before, 0) && is(after, 0);
}

Result<Window2d> Window2d::of(const Problem& problem) {
  const size_t axes = problem.inputs[0].shape.size() - 2;
  if (axes > 2) return error(ErrorCode::kUnsupported, "{} spatial axes", axes);
  const auto pair = [&](const std::vector<int64_t>& sizes, size_t first, int64_t missing) {
    const auto at = [&](size_t i) { return sizes.empty() ? missing : sizes[first + i]; };
    return axes == 1 ? Pair{missing, at(0)} : Pair{at(0), at(1)};
  };
  const ir::Shape& pads = problem.attrs.shape("pads");
  if (!ir::all_const(pads)) return error(ErrorCode::kUnsupported, "padding that depends on sizes");
  std::vector<int64_t> kernel;
  if (problem.op == Op::k_conv) {
    const ir::Shape& w = problem.inputs[kConvW].shape;
    if (!ir::all_const(w)) return error(ErrorCode::kUnsupported, "the weights' shape is symbolic");
    kernel = ir::const_values(w);
    kernel.erase(kernel.begin(), kernel.begin() + 2);
  } else {
    kernel = problem.attrs.integers("kernel_shape");
  }
  const std::vector<int64_t> padding = ir::const_values(pads);
  Window2d window{.kernel = pair(kernel, 0, 1),
                  .step = pair(problem.attrs.integers("strides"), 0, 1),
                  .dilation = pair(problem.attrs.integers("dilations"), 0, 1),
                  .before = pair(padding, 0, 0),
                  .after = pair(padding, axes, 0)};
  constexpr int64_t kMost = 1 << 20;  // 32 bits hold what kernels compute of these
  for (const Pair& p : {window.kernel, window.step, window.dilation, window.before, window.after})
    if (p.h > kMost || p.w > kMost) return error(ErrorCode::kUnsupported, "a window of absurd size");
  return window;
}

Images Images::of(const TensorArg& x) {
  const bool flat = x.rank() == 3;
  return {.count = x.dim(0), .height = flat ? 1 : x.dim(1), .width = x.dim(-2), .channels = x.dim(-1)};
}

Support supports_conv(const Problem& problem) {
  if (problem.op != Op::k_conv) return Support::no("computes conv only");
  if (!ops::channels_last(problem.attrs)) return Support::no("the channels are not last");
  if (problem.constant.size() <= kConvW || !problem.constant[kConvW]) return Support::no("the weight is not constant");
  if (const auto window = Window2d::of(problem); !window.ok()) return Support::no(window.status().message());
  for (const ir::Dim& size : problem.inputs[kConvW].shape)
    if (size.value() < 1) return Support::no("the weight is empty");
  return Support::yes();
}

std::vector<std::string> conv_defines(const Problem& problem) {
  return {fmt::format("ELEMENT={}", dtype_name(problem.outputs[0].dtype)),
          fmt::format("ACTIVATION={}", static_cast<int>(*ops::parse_activation(problem.attrs.text("activation")))),
          fmt::format("ACTIVATE_SUM={}", problem.attrs.integer("activate_sum") != 0 ? 1 : 0),
          fmt::format("HAS_BIAS={}", problem.has(kConvBias) ? 1 : 0),
          fmt::format("HAS_RESIDUAL={}", problem.has(kConvResidual) ? 1 : 0)};
}

}  // namespace tenon::kernels::cuda
