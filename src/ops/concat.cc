#include "ops/support.h"

namespace tenon::ops {
namespace {

// Copies x, of `rows` rows along the axes before `axis`, into its columns of y.
template <class T>
void place(const T* x, int64_t rows, int64_t width, T* y, int64_t pitch) {
  for (int64_t r = 0; r < rows; ++r) std::copy_n(x + r * width, width, y + r * pitch);
}

Status infer(InferContext& c) {
  TENON_ASSIGN(const int axis, c.axis(c.attrs.integer("axis"), c.rank(0)));
  TENON_TRY(check_same_dtype(c));
  const auto along = static_cast<size_t>(axis);
  Shape shape = c.shape(0);
  bool all_known = c.known(0) != nullptr;
  for (int k = 1; k < c.num_inputs(); ++k) {
    if (c.rank(k) != c.rank(0)) return error(ErrorCode::kBadModel, "inputs 0 and {} are of ranks {} and {}", k, c.rank(0), c.rank(k));
    for (size_t i = 0; i < shape.size(); ++i) {
      if (i == along) {
        shape[i] = shape[i] + c.shape(k)[i];
      } else {
        TENON_ASSIGN(shape[i], c.same(shape[i], c.shape(k)[i]));
      }
    }
    all_known = all_known && c.known(k) != nullptr;
  }
  std::optional<KnownDims> known = all_known ? make_known(c.dtype(0), shape) : std::nullopt;
  if (known) {
    const int64_t rows = product(known->shape, size_t{0}, along), pitch = product(known->shape, along, shape.size());
    Dim* y = known->values.data();
    for (int k = 0; k < c.num_inputs(); ++k) {
      const int64_t width = product(c.known(k)->shape, along, shape.size());
      place(c.known(k)->values.data(), rows, width, y, pitch);
      y += width;
    }
  }
  return c.output(c.dtype(0), std::move(shape), std::move(known));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg& y = args.output();
  const int64_t attr = attrs.integer("axis");
  const int axis = static_cast<int>(attr < 0 ? attr + y.rank() : attr);
  const auto element = static_cast<int64_t>(dtype_size(y.dtype));
  const int64_t rows = product(y.shape, 0, axis), pitch = product(y.shape, axis, y.rank()) * element;
  int64_t column = 0;
  for (const TensorArg& x : args.inputs) {
    for (int i = 0; i < y.rank(); ++i) {
      if (i != axis && x.dim(i) != y.dim(i)) {
        return error(ErrorCode::kBadInput, "shape {} does not agree with {} outside axis {}", shape_text(x.shape), shape_text(y.shape), axis);
      }
    }
    const int64_t width = product(x.shape, axis, x.rank()) * element;
    if (column + width > pitch) return error(ErrorCode::kBadInput, "the inputs are longer than the output {} along axis {}", shape_text(y.shape), axis);
    if (rows * width > 0) place(x.as<std::byte>(), rows, width, y.as<std::byte>() + column, pitch);
    column += width;
  }
  return {};
}

}  // namespace

OpDef define_concat() {
  return {.summary = "y = the inputs one after another along axis; other axes agree",
          .inputs = {{"x", Arity::kVariadic}},
          .attrs = {{"axis", int64_t{0}, true, "in [-rank, rank)"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
