#include "ops/support.h"

namespace tenon::ops {
namespace {

// y[i0, i1, …] = x[i0 mod n0, i1 mod n1, …]
template <class T>
void tile(const T* x, std::span<const int64_t> x_shape, std::span<const int64_t> y_shape, T* y) {
  if (y_shape.empty()) {
    *y = *x;
    return;
  }
  const std::vector<int64_t> strides = strides_of(x_shape);
  const size_t outer = y_shape.size() - 1;
  const int64_t rows = product(y_shape, size_t{0}, outer), n = x_shape[outer], width = y_shape[outer];
  if (rows == 0 || width == 0) return;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t at = 0, rest = r;
    for (size_t axis = outer; axis-- > 0; rest /= y_shape[axis]) at += rest % y_shape[axis] % x_shape[axis] * strides[axis];
    for (int64_t i = 0; i < width; i += n) y = std::copy_n(x + at, n, y);
  }
}

Status infer(InferContext& c) {
  const Shape& repeats = c.attrs.shape("repeats");
  Shape shape = c.shape(0);
  if (repeats.size() != shape.size()) return error(ErrorCode::kBadModel, "{} repeats for rank {}", repeats.size(), shape.size());
  TENON_TRY(check_sizes(repeats));
  for (size_t i = 0; i < shape.size(); ++i) shape[i] = shape[i] * repeats[i];
  std::optional<KnownDims> known = c.known(0) ? make_known(c.dtype(0), shape) : std::nullopt;
  if (known) tile(c.known(0)->values.data(), c.known(0)->shape, known->shape, known->values.data());
  return c.output(c.dtype(0), std::move(shape), std::move(known));
}

Status reference(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  visit_width(y.dtype, [&]<class T>() { tile(x.as<T>(), x.shape, y.shape, y.as<T>()); });
  return {};
}

}  // namespace

OpDef define_tile() {
  return {.summary = "y = x repeated repeats[i] times along each axis i",
          .inputs = {{"x"}},
          .attrs = {{"repeats", Shape{}, true, "one entry per axis"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
