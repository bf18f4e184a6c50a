#include <utility>

#include "ops/support.h"

namespace tenon::ops {
namespace {

// y[i, j, …] = x[i, index[i, j, …], …], the index standing at `axis`. Along other axes y is no longer than x.
template <class T>
void gather_elements(const T* x, std::span<const int64_t> x_shape, const std::vector<int64_t>& index, std::span<const int64_t> shape,
                     size_t axis, T* y) {
  std::vector<int64_t> strides = strides_of(x_shape);
  const int64_t along = std::exchange(strides[axis], 0);
  size_t flat = 0;
  for_each_row<1>(shape, {strides}, [&](const auto& at, const auto& step, int64_t n) {
    for (int64_t i = 0; i < n; ++i, ++flat) y[flat] = x[at[0] + i * step[0] + index[flat] * along];
  });
}

Status infer(InferContext& c) {
  TENON_ASSIGN(const int axis, c.axis(c.attrs.integer("axis"), c.rank(0)));
  TENON_TRY(check_dtype(c, 1, DTypes::kInteger));
  if (c.rank(1) != c.rank(0)) return error(ErrorCode::kBadModel, "data and indices are of ranks {} and {}", c.rank(0), c.rank(1));
  for (int i = 0; i < c.rank(0); ++i) {
    const Dim &x = c.shape(0)[static_cast<size_t>(i)], &index = c.shape(1)[static_cast<size_t>(i)];
    if (i != axis && (index - x).at_least(1)) {
      return error(ErrorCode::kBadModel, "indices have size {} along axis {}, data only {}", index.to_string(), i, x.to_string());
    }
  }
  std::optional<KnownDims> known;
  if (auto index = const_ints(c.known(1)); index && c.known(0) != nullptr) {
    const int64_t size = c.known(0)->shape[static_cast<size_t>(axis)];
    bool valid = true;
    for (int64_t& i : *index) {
      i += i < 0 ? size : 0;
      valid = valid && i >= 0 && i < size;
    }
    if (!valid) return error(ErrorCode::kBadModel, "an index is out of range for an axis of size {}", size);
    known = make_known(c.dtype(0), c.shape(1));
    if (known) {
      gather_elements(c.known(0)->values.data(), c.known(0)->shape, *index, known->shape, static_cast<size_t>(axis), known->values.data());
    }
  }
  return c.output(c.dtype(0), c.shape(1), std::move(known));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t attr = attrs.integer("axis");
  const int axis = static_cast<int>(attr < 0 ? attr + x.rank() : attr);
  TENON_ASSIGN(const std::vector<int64_t> index, read_indices(args.input(1), x.dim(axis)));
  for (int i = 0; i < x.rank(); ++i) {
    if (i != axis && y.dim(i) > x.dim(i)) {
      return error(ErrorCode::kBadInput, "indices of shape {} do not fit data of shape {}", shape_text(y.shape), shape_text(x.shape));
    }
  }
  visit_width(y.dtype, [&]<class T>() {
    gather_elements(x.as<T>(), x.shape, index, y.shape, static_cast<size_t>(axis), y.as<T>());
  });
  return {};
}

}  // namespace

OpDef define_gather_elements() {
  return {.summary = "y[i, j, k] = data[i, indices[i, j, k], k] for axis 1; indices and y have one shape",
          .inputs = {{"data"}, {"indices"}},
          .attrs = {{"axis", int64_t{0}, false, "in [-rank, rank); negative indices count from the end"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
