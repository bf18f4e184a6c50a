// Convolutions.
#include "onnx/ops.h"
#include "onnx/window.h"

namespace tenon::onnx {
namespace {

constexpr int64_t kMostLiteral = int64_t{1} << 24;  // elements of filters made here

// Spatial sizes of weights [.., .., kernel…], which have to be constant; kernel_shape may repeat them.
Result<std::vector<int64_t>> kernel_of(const Value* w) {
  std::vector<int64_t> kernel;
  for (int i = 2; i < w->rank(); ++i) {
    const Dim& size = w->shape()[static_cast<size_t>(i)];
    if (!size.is_const()) return error(ErrorCode::kUnsupported, "a kernel of symbolic size {}", size.to_string());
    kernel.push_back(size.value());
  }
  return kernel;
}

}  // namespace

Result<Value*> convolve(Call& c, Value* x, Value* w, Value* bias) {
  TENON_ASSIGN(const auto kernel, kernel_of(w));
  TENON_ASSIGN(ir::Attrs attrs, window_attributes(c, x, kernel));
  attrs.set("group", c.integer("group", 1));
  return c.emit(Op::k_conv, {x, w, bias}, std::move(attrs));
}

Status import_conv(Call& c) { return c.yield(convolve(c, c.input(0), c.input(1), c.input(2))); }

// What conv_transpose cuts off follows from output_shape, from auto_pad or from pads.
Status import_conv_transpose(Call& c) {
  Value *x = c.input(0), *w = c.input(1);
  TENON_ASSIGN(const auto kernel, kernel_of(w));
  if (x->rank() != w->rank())
    return error(ErrorCode::kBadModel, "x of rank {}, weights of rank {}", x->rank(), w->rank());
  const size_t axes = kernel.size();
  TENON_ASSIGN(const WindowSteps steps, window_steps(c, axes));
  std::vector<int64_t> pads = c.integers("pads"), extra = c.integers("output_padding"),
                       wanted = c.integers("output_shape");
  pads.resize(2 * axes, 0);
  extra.resize(axes, 0);
  if (!wanted.empty() && wanted.size() > axes)
    wanted.erase(wanted.begin(), wanted.end() - static_cast<std::ptrdiff_t>(axes));
  if (!wanted.empty() && wanted.size() != axes)
    return error(ErrorCode::kBadModel, "output_shape has {} sizes", wanted.size());
  const std::string mode = c.text("auto_pad", "NOTSET");
  Shape sizes, begins, ends;
  for (size_t i = 0; i < axes; ++i) {
    const Dim in = x->shape()[2 + i], stride(steps.strides[i]);
    const Dim reach = stride * (in - Dim(1)) + Dim(extra[i] + (kernel[i] - 1) * steps.dilations[i] + 1);
    const bool same = mode == "SAME_UPPER" || mode == "SAME_LOWER";
    if (wanted.empty() && !same) {
      const bool given = mode == "NOTSET";
      begins.emplace_back(given ? pads[i] : 0);
      ends.emplace_back(given ? pads[i + axes] : 0);
      sizes.push_back(reach - begins.back() - ends.back());
      continue;
    }
    sizes.push_back(wanted.empty() ? in * stride : Dim(wanted[i]));
    const Dim total = Dim::max(reach - sizes.back(), Dim(0)), half = Dim::floordiv(total, Dim(2));
    begins.push_back(mode == "SAME_UPPER" ? half : total - half);
    ends.push_back(total - begins.back());
  }
  Shape both = begins;
  both.insert(both.end(), ends.begin(), ends.end());
  return c.yield(Op::k_conv_transpose, {x, w, c.input(2)},
                 {{"strides", steps.strides},
                  {"dilations", steps.dilations},
                  {"pads", std::move(both)},
                  {"group", c.integer("group", 1)},
                  {"sizes", std::move(sizes)}});
}

Status import_deform_conv(Call& c) {
  TENON_ASSIGN(const auto kernel, kernel_of(c.input(1)));
  TENON_ASSIGN(ir::Attrs attrs, window_attributes(c, c.input(0), kernel));
  attrs.set("group", c.integer("group", 1));
  attrs.set("offset_group", c.integer("offset_group", 1));
  return c.yield(Op::k_deform_conv, {c.input(0), c.input(1), c.input(2), c.input(3), c.input(4)}, std::move(attrs));
}

// x [N, C * taps, L] summed into images: a transposed convolution that puts each channel's taps where they belong.
Status import_col2im(Call& c) {
  Value* x = c.input(0);
  TENON_ASSIGN(const Shape image, c.dims(1));
  TENON_ASSIGN(const std::vector<int64_t> block, c.integers_of(2));
  const size_t axes = block.size();
  if (x->rank() != 3 || image.size() != axes || !x->shape()[1].is_const())
    return error(ErrorCode::kBadModel, "an input {} for {} axes", ir::to_string(x->shape()), axes);
  int64_t taps = 1;
  for (const int64_t b : block) {
    if (b < 1 || b > 4096) return error(ErrorCode::kBadModel, "a block of size {}", b);
    taps *= b;
  }
  const int64_t rows = x->shape()[1].value();
  if (taps > 65536 || rows > 65536 || rows * taps > kMostLiteral || rows % taps != 0)
    return error(ErrorCode::kBadModel, "{} rows for blocks of {} elements", rows, taps);
  TENON_ASSIGN(const WindowSteps steps, window_steps(c, axes));
  std::vector<int64_t> pads = c.integers("pads");
  pads.resize(2 * axes, 0);
  Shape spread{x->shape()[0], Dim(rows)};
  for (size_t i = 0; i < axes; ++i) {
    const Dim reach = image[i] + Dim(pads[i] + pads[i + axes] - (block[i] - 1) * steps.dilations[i] - 1);
    spread.push_back(Dim::floordiv(reach, Dim(steps.strides[i])) + Dim(1));
  }
  TENON_ASSIGN(x, c.reshape(x, std::move(spread)));
  // One filter per channel and tap: 1 at that tap.
  std::vector<float> ones(static_cast<size_t>(rows * taps), 0.0f);
  for (int64_t row = 0; row < rows; ++row) ones[static_cast<size_t>(row * taps + row % taps)] = 1.0f;
  std::vector<int64_t> shape{rows, 1};
  shape.insert(shape.end(), block.begin(), block.end());
  TENON_ASSIGN(auto* w, c.cast(c.literal(Tensor::from(DType::kF32, std::move(shape), ones)), x->dtype()));
  return c.yield(Op::k_conv_transpose, {x, w},
                 {{"strides", steps.strides},
                  {"dilations", steps.dilations},
                  {"pads", ir::to_shape(pads)},
                  {"group", rows / taps},
                  {"sizes", image}});
}

}  // namespace tenon::onnx
