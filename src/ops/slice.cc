#include "ops/support.h"

namespace tenon::ops {
namespace {

StridedView view_of(std::span<const int64_t> shape, std::span<const int64_t> axes, std::span<const int64_t> starts,
                    std::span<const int64_t> steps) {
  StridedView view{0, strides_of(shape)};
  for (size_t i = 0; i < axes.size(); ++i) {
    int64_t& stride = view.strides[static_cast<size_t>(axes[i])];
    view.offset += starts[i] * stride;
    stride *= steps[i];
  }
  return view;
}

// How many elements start, start + step, … lie before `end`.
Dim count(const Dim& start, const Dim& end, int64_t step) {
  const Dim distance = step > 0 ? end - start : start - end;
  const Dim size(step > 0 ? step : -step);
  // Importers clamp both, so only an `end` before a `start` other than 0 makes a distance negative.
  const bool ordered = (step > 0 && start == Dim(0)) || distance.at_least(0);
  return Dim::floordiv((ordered ? distance : Dim::max(distance, 0)) + size - 1, size);
}

Status infer(InferContext& c) {
  const std::vector<int64_t>& axes = c.attrs.integers("axes");
  const std::vector<int64_t>& steps = c.attrs.integers("steps");
  const Shape &starts = c.attrs.shape("starts"), &ends = c.attrs.shape("ends");
  if (starts.size() != axes.size() || ends.size() != axes.size() || steps.size() != axes.size()) {
    return error(ErrorCode::kBadModel, "axes, starts, ends and steps differ in length");
  }
  Shape shape = c.shape(0);
  std::vector<bool> seen(shape.size());
  for (size_t i = 0; i < axes.size(); ++i) {
    if (axes[i] < 0 || axes[i] >= c.rank(0)) return error(ErrorCode::kBadModel, "axis {} is out of range for rank {}", axes[i], c.rank(0));
    const auto axis = static_cast<size_t>(axes[i]);
    if (seen[axis]) return error(ErrorCode::kBadModel, "axis {} is sliced twice", axes[i]);
    seen[axis] = true;
    if (steps[i] == 0 || steps[i] == INT64_MIN) return error(ErrorCode::kBadModel, "step {} is not allowed", steps[i]);
    const Dim &start = starts[i], &end = ends[i], &size = shape[axis];
    const bool forward = steps[i] > 0;
    if ((-start).at_least(1) || (forward ? -end : -end - 1).at_least(1) || (forward ? end - size : start + 1 - size).at_least(1)) {
      return error(ErrorCode::kBadModel, "slice from {} to {} leaves axis {} of size {}", start.to_string(), end.to_string(), axes[i], size.to_string());
    }
    shape[axis] = count(start, end, steps[i]);
  }
  std::optional<KnownDims> known;
  if (const KnownDims* k = c.known(0); k != nullptr && ir::all_const(starts)) {
    known = known_view(k, view_of(k->shape, axes, ir::const_values(starts), steps), c.dtype(0), shape);
  }
  return c.output(c.dtype(0), std::move(shape), std::move(known));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const std::vector<int64_t>& axes = attrs.integers("axes");
  const std::vector<int64_t>& steps = attrs.integers("steps");
  const std::span<const int64_t> starts = args.size("starts");
  const TensorArg x = args.input(0), y = args.output();
  if (y.numel() == 0) return {};
  for (size_t i = 0; i < axes.size(); ++i) {
    const int axis = static_cast<int>(axes[i]);
    const int64_t last = starts[i] + (y.dim(axis) - 1) * steps[i];
    if (std::min(starts[i], last) < 0 || std::max(starts[i], last) >= x.dim(axis)) {
      return error(ErrorCode::kBadInput, "slice from {} to {} leaves axis {} of size {}", starts[i], args.size("ends")[i], axes[i], x.dim(axis));
    }
  }
  copy_view(x, view_of(x.shape, axes, starts, steps), y);
  return {};
}

}  // namespace

OpDef define_slice() {
  return {.summary = "y = x[start, start + step, … before end] along each of axes; the size becomes ceil((end - start) / step)",
          .inputs = {{"x"}},
          .attrs = {{"axes", std::vector<int64_t>{}, true, "each at most once, not negative"},
                    {"starts", Shape{}, true, "final: clamped and not negative"},
                    {"ends", Shape{}, true, "final: clamped; exclusive; -1 is before the first element when step < 0"},
                    {"steps", std::vector<int64_t>{}, true, "not 0"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
