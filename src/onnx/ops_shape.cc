// Shapes and layout: what these operators need to know is resolved symbolically while the graph is built.
#include <algorithm>
#include <limits>

#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

// Axes from the attribute (older opsets) or from input `i` (newer ones); nothing when neither is given.
Result<std::optional<std::vector<int64_t>>> axes_of(Call& c, int i) {
  if (c.input(i) != nullptr) {
    TENON_ASSIGN(std::vector<int64_t> axes, c.integers_of(i));
    return std::optional(std::move(axes));
  }
  if (c.has("axes")) return std::optional(c.integers("axes"));
  return std::optional<std::vector<int64_t>>();
}

// The size that makes `rest` times it equal to `total`. Equal factors cancel first: [batch, seq + 1, 8] against
// [batch, -1, 8] leaves seq + 1 whole.
Result<Dim> infer_size(const Shape& from, Shape rest) {
  Shape left;
  for (const Dim& d : from) {
    const auto it = std::find(rest.begin(), rest.end(), d);
    if (it == rest.end()) {
      left.push_back(d);
    } else {
      rest.erase(it);
    }
  }
  const Dim total = ir::numel(left), divisor = ir::numel(rest);
  if (divisor == Dim(0)) return error(ErrorCode::kBadModel, "a size of -1 beside a size of 0");
  if (const auto quotient = total.exact_div(divisor)) return *quotient;
  if (total.is_const() && divisor.is_const()) {
    return error(ErrorCode::kBadModel, "{} elements do not divide by {}", total.value(), divisor.value());
  }
  return Dim::floordiv(total, divisor);
}

bool is_negative(const Dim& d) { return (-d).at_least(1); }

// A start or end of a slice as Python counts it, in [lowest, size]. Symbolic sizes are assumed to fit into constant
// ones: a table of 512 positions sliced to `seq` means that seq <= 512.
Result<Dim> clamp_index(Call& c, Dim index, const Dim& size, const Dim& lowest) {
  constexpr int64_t kEnd = std::numeric_limits<int32_t>::max();  // exporters write it, or INT64_MAX, for "to the end"
  if (index.is_const() && index.value() >= kEnd) return size;
  if (index.is_const() && index.value() <= -kEnd) return lowest;
  if (is_negative(index)) {
    index = index + size;
  } else if (!c.is_natural(index)) {
    return error(ErrorCode::kUnsupported, "the sign of the index {} is not known", index.to_string());
  }
  if (c.is_natural(size - index)) return c.is_natural(index - lowest) ? index : Dim::max(index, lowest);
  if (size.is_const() && !index.is_const() && size.value() > 1) {
    c.assume_at_most(index, size.value());
    return index;
  }
  return Dim::min(Dim::max(index, lowest), size);
}

}  // namespace

// The sizes of axes [start, end) of x, known before a run but for their symbols.
Status import_shape(Call& c) {
  const Shape& shape = c.input(0)->shape();
  const int64_t rank = c.input(0)->rank();
  const auto bound = [&](int64_t axis) { return std::clamp<int64_t>(axis < 0 ? axis + rank : axis, 0, rank); };
  const int64_t start = bound(c.integer("start", 0)), end = std::max(start, bound(c.integer("end", rank)));
  return c.yield(Op::k_dims, {}, {{"values", Shape(shape.begin() + start, shape.begin() + end)}, {"scalar", 0}});
}

Status import_size(Call& c) {
  return c.yield(Op::k_dims, {}, {{"values", Shape{ir::numel(c.input(0)->shape())}}, {"scalar", 1}});
}

Status import_reshape(Call& c) {
  Value* x = c.input(0);
  TENON_ASSIGN(Shape shape, c.dims(1));
  const bool zero_is_zero = c.integer("allowzero", 0) != 0;
  std::optional<size_t> open;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == Dim(0) && !zero_is_zero) {
      if (i >= x->shape().size())
        return error(ErrorCode::kBadModel, "size 0 at axis {} copies an axis that the input does not have", i);
      shape[i] = x->shape()[i];
    } else if (shape[i] == Dim(-1)) {
      if (open) return error(ErrorCode::kBadModel, "more than one size is -1");
      open = i;
    } else if (is_negative(shape[i])) {
      return error(ErrorCode::kBadModel, "the size {} is negative", shape[i].to_string());
    }
  }
  if (open) {
    Shape rest = shape;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(*open));
    TENON_ASSIGN(shape[*open], infer_size(x->shape(), std::move(rest)));
  }
  return c.yield(c.reshape(x, std::move(shape)));
}

Status import_flatten(Call& c) {
  const Shape& shape = c.input(0)->shape();
  const auto rank = static_cast<int>(shape.size());
  int64_t axis = c.integer("axis", 1);
  if (axis < -rank || axis > rank)
    return error(ErrorCode::kBadModel, "axis {} is out of range for rank {}", axis, rank);
  if (axis < 0) axis += rank;
  const Shape outer(shape.begin(), shape.begin() + axis), inner(shape.begin() + axis, shape.end());
  return c.yield(c.reshape(c.input(0), {ir::numel(outer), ir::numel(inner)}));
}

Status import_squeeze(Call& c) {
  const Shape& shape = c.input(0)->shape();
  TENON_ASSIGN(const auto given, axes_of(c, 1));
  std::vector<int64_t> axes;
  if (given) {
    TENON_ASSIGN(axes, c.axes(*given, c.input(0)->rank()));
  }
  Shape out;
  for (size_t i = 0; i < shape.size(); ++i) {
    const bool named = std::binary_search(axes.begin(), axes.end(), static_cast<int64_t>(i));
    if (given ? !named : shape[i] != Dim(1)) {
      out.push_back(shape[i]);
    } else {
      TENON_TRY(c.same(shape[i], Dim(1)));
    }
  }
  return c.yield(c.reshape(c.input(0), std::move(out)));
}

Status import_unsqueeze(Call& c) {
  TENON_ASSIGN(const auto given, axes_of(c, 1));
  if (!given) return error(ErrorCode::kBadModel, "no axes are given");
  const int rank = c.input(0)->rank() + static_cast<int>(given->size());
  TENON_ASSIGN(const auto axes, c.axes(*given, rank));
  Shape out = c.input(0)->shape();
  for (const int64_t axis : axes) out.insert(out.begin() + axis, Dim(1));
  return c.yield(c.reshape(c.input(0), std::move(out)));
}

Status import_transpose(Call& c) {
  std::vector<int64_t> perm = c.integers("perm");
  if (!c.has("perm"))
    for (int i = c.input(0)->rank(); i-- > 0;) perm.push_back(i);
  return c.yield(c.transpose(c.input(0), std::move(perm)));
}

// Broadcasting goes both ways: a size of 1 in the wanted shape keeps x's.
Status import_expand(Call& c) {
  TENON_ASSIGN(const Shape wanted, c.dims(1));
  for (const Dim& d : wanted)
    if (is_negative(d)) return error(ErrorCode::kBadModel, "the size {} is negative", d.to_string());
  TENON_ASSIGN(Shape shape, c.broadcast(c.input(0)->shape(), wanted));
  return c.yield(c.expand(c.input(0), std::move(shape)));
}

Status import_tile(Call& c) {
  TENON_ASSIGN(Shape repeats, c.dims(1));
  return c.yield(Op::k_tile, {c.input(0)}, {{"repeats", std::move(repeats)}});
}

Status import_concat(Call& c) {
  if (!c.has("axis")) return error(ErrorCode::kBadModel, "attribute 'axis' is missing");
  std::vector<Value*> inputs(c.inputs().begin(), c.inputs().end());
  if (inputs.size() == 1) return c.yield(inputs[0]);
  for (const Value* v : inputs)
    if (v == nullptr) return error(ErrorCode::kBadModel, "an input is missing");
  return c.yield(Op::k_concat, std::move(inputs), {{"axis", c.integer("axis", 0)}});
}

Status import_split(Call& c) {
  Value* x = c.input(0);
  TENON_ASSIGN(const int axis, c.axis(c.integer("axis", 0), x->rank()));
  const Dim& size = x->shape()[static_cast<size_t>(axis)];
  const int64_t parts = c.num_outputs();
  Shape sizes;
  if (c.input(1) != nullptr) {
    TENON_ASSIGN(sizes, c.dims(1));
  } else if (c.has("split")) {
    sizes = ir::to_shape(c.integers("split"));
  } else if (const auto even = size.exact_div(Dim(parts))) {
    sizes.assign(static_cast<size_t>(parts), *even);
  } else if (c.has("num_outputs")) {
    // Equal chunks, the last one smaller.
    const Dim chunk = Dim::floordiv(size + Dim(parts - 1), Dim(parts));
    sizes.assign(static_cast<size_t>(parts), chunk);
    sizes.back() = size - chunk * Dim(parts - 1);
  } else {
    return error(ErrorCode::kBadModel, "axis {} of size {} does not split into {} equal parts", axis, size.to_string(),
                 parts);
  }
  if (static_cast<int64_t>(sizes.size()) != parts) {
    return error(ErrorCode::kBadModel, "{} sizes are given for {} outputs", sizes.size(), parts);
  }
  Dim begin(0);
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (is_negative(sizes[i])) return error(ErrorCode::kBadModel, "part {} has the size {}", i, sizes[i].to_string());
    const Dim end = i + 1 == sizes.size() ? size : begin + sizes[i];
    if (i + 1 == sizes.size()) TENON_TRY(c.same(begin + sizes[i], size));
    if (c.wants(static_cast<int>(i))) TENON_TRY(c.yield(c.slice(x, axis, begin, end), static_cast<int>(i)));
    begin = end;
  }
  return {};
}

Status import_slice(Call& c) {
  Value* x = c.input(0);
  Shape starts = ir::to_shape(c.integers("starts")), ends = ir::to_shape(c.integers("ends"));  // opset 9
  std::vector<int64_t> axes = c.integers("axes");
  if (c.input(1) != nullptr) {
    TENON_ASSIGN(starts, c.dims(1));
  }
  if (c.input(2) != nullptr) {
    TENON_ASSIGN(ends, c.dims(2));
  }
  std::vector<int64_t> steps(starts.size(), 1);
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  if (c.input(3) != nullptr) {
    TENON_ASSIGN(axes, c.integers_of(3));
  }
  if (c.input(4) != nullptr) {
    TENON_ASSIGN(steps, c.integers_of(4));
  }
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size()) {
    return error(ErrorCode::kBadModel, "starts, ends, axes and steps differ in length");
  }
  for (size_t i = 0; i < axes.size(); ++i) {
    TENON_ASSIGN(axes[i], c.axis(axes[i], x->rank()));
    const Dim& size = x->shape()[static_cast<size_t>(axes[i])];
    if (steps[i] == 0) return error(ErrorCode::kBadModel, "a step is 0");
    // Backwards, an end of -1 stands before the first element, and no start reaches beyond the last.
    const bool forward = steps[i] > 0;
    TENON_ASSIGN(starts[i], clamp_index(c, starts[i], size, Dim(0)));
    TENON_ASSIGN(ends[i], clamp_index(c, ends[i], size, Dim(forward ? 0 : -1)));
    if (!forward) {
      starts[i] = Dim::min(starts[i], size - Dim(1));
      ends[i] = Dim::min(ends[i], size - Dim(1));
    }
  }
  return c.yield(Op::k_slice, {x},
                 {{"axes", std::move(axes)},
                  {"starts", std::move(starts)},
                  {"ends", std::move(ends)},
                  {"steps", std::move(steps)}});
}

Status import_pad(Call& c) {
  Value* x = c.input(0);
  const std::string mode = c.text("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap")
    return error(ErrorCode::kUnsupported, "mode '{}'", mode);
  Shape pads = ir::to_shape(c.integers("pads"));  // opset 10
  if (c.input(1) != nullptr) {
    TENON_ASSIGN(pads, c.dims(1));
  }
  std::vector<int64_t> axes;
  for (int i = 0; i < x->rank(); ++i) axes.push_back(i);
  if (c.input(3) != nullptr) {
    TENON_ASSIGN(axes, c.integers_of(3));
  }
  if (pads.size() != 2 * axes.size())
    return error(ErrorCode::kBadModel, "{} pads are given for {} axes", pads.size(), axes.size());
  double value = c.number("value", 0);
  if (c.input(2) != nullptr && mode == "constant") {
    TENON_ASSIGN(const Tensor constant, c.constant_of(2));
    const auto element = constant.uniform_value();
    if (!element) return error(ErrorCode::kBadModel, "the value to pad with is no scalar");
    value = *element;
  }
  Shape before(x->shape().size()), after(x->shape().size());
  for (size_t i = 0; i < axes.size(); ++i) {
    TENON_ASSIGN(const int axis, c.axis(axes[i], x->rank()));
    // Negative pads cut; the rest pads.
    Dim low = pads[i], high = pads[i + axes.size()];
    const Dim size = x->shape()[static_cast<size_t>(axis)];
    const Dim first = is_negative(low) ? -low : Dim(0), last = is_negative(high) ? size + high : size;
    TENON_ASSIGN(x, c.slice(x, axis, first, last));
    before[static_cast<size_t>(axis)] = is_negative(low) ? Dim(0) : low;
    after[static_cast<size_t>(axis)] = is_negative(high) ? Dim(0) : high;
  }
  return c.yield(Op::k_pad, {x},
                 {{"before", std::move(before)}, {"after", std::move(after)}, {"mode", mode}, {"value", value}});
}

}  // namespace tenon::onnx
