// Pooling and what is made of it.
#include "onnx/ops.h"
#include "onnx/window.h"

namespace tenon::onnx {

Result<WindowSteps> window_steps(Call& c, size_t axes) {
  WindowSteps steps{c.integers("strides"), c.integers("dilations")};
  for (auto* list : {&steps.strides, &steps.dilations}) {
    if (list->empty()) list->assign(axes, 1);
    if (list->size() != axes)
      return error(ErrorCode::kBadModel, "{} strides or dilations for {} spatial axes", list->size(), axes);
    for (const int64_t s : *list)
      if (s < 1 || s > INT32_MAX) return error(ErrorCode::kBadModel, "a step of {}", s);
  }
  return steps;
}

Result<ir::Attrs> window_attributes(Call& c, const Value* x, const std::vector<int64_t>& kernel) {
  const size_t axes = kernel.size();
  if (x->rank() != static_cast<int>(axes) + 2)
    return error(ErrorCode::kBadModel, "a window of {} axes for an input of rank {}", axes, x->rank());
  if (const auto given = c.integers("kernel_shape"); !given.empty() && given != kernel)
    return error(ErrorCode::kBadModel, "kernel_shape differs from the weights");
  TENON_ASSIGN(WindowSteps steps, window_steps(c, axes));
  const std::string mode = c.text("auto_pad", "NOTSET");
  std::vector<int64_t> given = c.integers("pads");
  given.resize(2 * axes, 0);
  Shape pads = ir::to_shape(given);
  if (mode == "VALID") pads.assign(2 * axes, Dim(0));
  if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
    for (size_t i = 0; i < axes; ++i) {
      const Dim in = x->shape()[2 + i], stride(steps.strides[i]);
      const Dim out = Dim::floordiv(in + stride - Dim(1), stride);
      const int64_t width = (kernel[i] - 1) * steps.dilations[i] + 1;
      const Dim missing = (out - Dim(1)) * stride + Dim(width) - in;
      // The last window begins less than a stride before the end, so a window of a stride or more reaches it.
      const Dim total = width >= steps.strides[i] ? missing : Dim::max(missing, Dim(0));
      const Dim half = Dim::floordiv(total, Dim(2));
      pads[i] = mode == "SAME_UPPER" ? half : total - half;
      pads[i + axes] = total - pads[i];
    }
  } else if (mode != "NOTSET" && mode != "VALID") {
    return error(ErrorCode::kBadModel, "auto_pad '{}'", mode);
  }
  return ir::Attrs{
      {"strides", std::move(steps.strides)}, {"dilations", std::move(steps.dilations)}, {"pads", std::move(pads)}};
}

namespace {

Result<ir::Attrs> pooling_attributes(Call& c) {
  const std::vector<int64_t> kernel = c.integers("kernel_shape");
  if (kernel.empty()) return error(ErrorCode::kBadModel, "attribute 'kernel_shape' is missing");
  TENON_ASSIGN(ir::Attrs attrs, window_attributes(c, c.input(0), kernel));
  attrs.set("kernel_shape", kernel);
  attrs.set("ceil_mode", c.integer("ceil_mode", 0));
  return attrs;
}

// All axes behind the channels.
Result<std::vector<int64_t>> spatial_axes(Call& c) {
  std::vector<int64_t> axes;
  for (int i = 2; i < c.input(0)->rank(); ++i) axes.push_back(i);
  if (axes.empty()) return error(ErrorCode::kBadModel, "an input of rank {} has no spatial axes", c.input(0)->rank());
  return axes;
}

}  // namespace

Status import_max_pool(Call& c) {
  TENON_ASSIGN(ir::Attrs attrs, pooling_attributes(c));
  attrs.set("indices", int64_t{c.wants(1)});
  attrs.set("column_major", c.integer("storage_order", 0));
  TENON_ASSIGN(auto* node, c.emit_node(Op::k_max_pool, {c.input(0)}, std::move(attrs)));
  for (int i = 0; i < node->num_outputs(); ++i) TENON_TRY(c.yield(node->output(i), i));
  return {};
}

Result<ir::Attrs> average_pool_attributes(Call& c) {
  TENON_ASSIGN(ir::Attrs attrs, pooling_attributes(c));
  attrs.set("count_include_pad", c.integer("count_include_pad", 0));
  return attrs;
}

Status import_average_pool(Call& c) {
  TENON_ASSIGN(ir::Attrs attrs, average_pool_attributes(c));
  return c.yield(Op::k_average_pool, {c.input(0)}, std::move(attrs));
}

Status import_lp_pool(Call& c) {
  TENON_ASSIGN(ir::Attrs attrs, pooling_attributes(c));
  const auto p = static_cast<double>(c.integer("p", 2));
  if (p < 1) return error(ErrorCode::kBadModel, "p = {}", p);
  attrs.set("p", p);
  return c.yield(Op::k_lp_pool, {c.input(0)}, std::move(attrs));
}

Status import_global_max_pool(Call& c) {
  TENON_ASSIGN(auto axes, spatial_axes(c));
  return c.yield(Op::k_reduce_max, {c.input(0)}, {{"axes", std::move(axes)}, {"keepdims", 1}});
}

Status import_global_average_pool(Call& c) {
  TENON_ASSIGN(auto axes, spatial_axes(c));
  return c.yield(Op::k_reduce_mean, {c.input(0)}, {{"axes", std::move(axes)}, {"keepdims", 1}});
}

Status import_global_lp_pool(Call& c) {
  TENON_ASSIGN(auto axes, spatial_axes(c));
  const int64_t p = c.integer("p", 2);
  if (p == 2) return c.yield(Op::k_reduce_l2, {c.input(0)}, {{"axes", std::move(axes)}, {"keepdims", 1}});
  TENON_ASSIGN(auto* t, c.emit(Op::k_abs, {c.input(0)}));
  TENON_ASSIGN(t, c.with(Op::k_pow, t, static_cast<double>(p)));
  TENON_ASSIGN(t, c.emit(Op::k_reduce_sum, {t}, {{"axes", std::move(axes)}, {"keepdims", 1}}));
  return c.yield(c.with(Op::k_pow, t, 1 / static_cast<double>(p)));
}

// Each element goes where it was the greatest; zeros elsewhere.
Status import_max_unpool(Call& c) {
  Value* x = c.input(0);
  const std::vector<int64_t> kernel = c.integers("kernel_shape");
  TENON_ASSIGN(const WindowSteps steps, window_steps(c, kernel.size()));
  std::vector<int64_t> pads = c.integers("pads");
  pads.resize(2 * kernel.size(), 0);
  if (x->rank() != static_cast<int>(kernel.size()) + 2)
    return error(ErrorCode::kBadModel, "a window of {} axes for rank {}", kernel.size(), x->rank());
  Shape shape{x->shape()[0], x->shape()[1]};
  for (size_t i = 0; i < kernel.size(); ++i) {
    shape.push_back((x->shape()[2 + i] - Dim(1)) * Dim(steps.strides[i]) +
                    Dim(kernel[i] - pads[i] - pads[i + kernel.size()]));
  }
  const Dim count = ir::numel(x->shape());
  TENON_ASSIGN(auto* zeros, c.expand(c.scalar(x->dtype(), 0), {ir::numel(shape)}));
  TENON_ASSIGN(auto* indices, c.reshape(c.input(1), {count, Dim(1)}));
  TENON_ASSIGN(x, c.reshape(x, {count}));
  TENON_ASSIGN(auto* y, c.emit(Op::k_scatter_nd, {zeros, indices, x}));
  TENON_ASSIGN(y, c.reshape(y, shape));
  if (c.input(2) == nullptr) return c.yield(y);
  // The indices count in the smallest output; a larger one has zeros behind it.
  TENON_ASSIGN(Shape after, c.dims(2));
  if (after.size() != shape.size())
    return error(ErrorCode::kBadModel, "an output of rank {}, expected {}", after.size(), shape.size());
  for (size_t i = 0; i < after.size(); ++i) after[i] = after[i] - shape[i];
  return c.yield(Op::k_pad, {y}, {{"before", Shape(after.size(), Dim(0))}, {"after", std::move(after)}});
}

// y = x / (bias + alpha / size * sum of x^2 over `size` neighbouring channels)^beta: the sum is an average with its
// padding.
Status import_lrn(Call& c) {
  Value* x = c.input(0);
  const int64_t size = c.integer("size", 0);
  if (size < 1 || x->rank() < 2)
    return error(ErrorCode::kBadModel, "{} channels for an input of rank {}", size, x->rank());
  const Shape& s = x->shape();
  TENON_ASSIGN(auto* t, c.emit(Op::k_mul, {x, x}));
  TENON_ASSIGN(t, c.reshape(t, {s[0], Dim(1), s[1], ir::numel(Shape(s.begin() + 2, s.end()))}));
  TENON_ASSIGN(t, c.emit(Op::k_average_pool, {t},
                         {{"kernel_shape", std::vector<int64_t>{size, 1}},
                          {"pads", Shape{Dim((size - 1) / 2), Dim(0), Dim(size / 2), Dim(0)}},
                          {"count_include_pad", 1}}));
  TENON_ASSIGN(t, c.reshape(t, s));
  TENON_ASSIGN(t, c.with(Op::k_mul, t, c.number("alpha", 0.0001)));
  TENON_ASSIGN(t, c.with(Op::k_add, t, c.number("bias", 1)));
  TENON_ASSIGN(t, c.with(Op::k_pow, t, c.number("beta", 0.75)));
  return c.yield(Op::k_div, {x, t});
}

}  // namespace tenon::onnx
