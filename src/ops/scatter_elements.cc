#include <cstring>

#include "ops/scatter.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 1, DTypes::kInteger));
  TENON_TRY(check_reduction(c));
  TENON_TRY(c.axis(c.attrs.integer("axis"), c.rank(0)).status());
  if (c.dtype(2) != c.dtype(0))
    return error(ErrorCode::kBadModel, "data is {}, updates are {}", dtype_name(c.dtype(0)), dtype_name(c.dtype(2)));
  const Shape &indices = c.shape(1), &updates = c.shape(2);
  if (indices.size() != c.shape(0).size() || updates.size() != indices.size()) {
    return error(ErrorCode::kBadModel, "data, indices and updates of ranks {}, {} and {}", c.rank(0), indices.size(),
                 updates.size());
  }
  for (size_t i = 0; i < indices.size(); ++i) TENON_TRY(c.same(indices[i], updates[i]).status());
  return c.output(c.dtype(0), c.shape(0));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg data = args.input(0), indices = args.input(1), updates = args.input(2), y = args.output();
  const int64_t attr = attrs.integer("axis");
  const auto axis = static_cast<size_t>(attr < 0 ? attr + data.rank() : attr);
  TENON_ASSIGN(const std::vector<int64_t> index, read_indices(indices, data.shape[axis]));
  bool fits = std::ranges::equal(indices.shape, updates.shape);
  for (size_t i = 0; i < data.shape.size(); ++i) fits = fits && (i == axis || indices.shape[i] <= data.shape[i]);
  if (!fits)
    return error(ErrorCode::kBadInput, "indices {} and updates {} do not fit {}", shape_text(indices.shape),
                 shape_text(updates.shape), shape_text(data.shape));
  const size_t bytes = static_cast<size_t>(y.numel()) * dtype_size(y.dtype);
  if (bytes > 0 && y.data != data.data) std::memcpy(y.data, data.data, bytes);
  // Updates walk y but for the scattered axis, whose index is read.
  std::vector<int64_t> strides = strides_of(y.shape);
  const int64_t along = std::exchange(strides[axis], 0);
  return with_reduction(attrs.text("reduction"), updates, y, [&](auto join) -> Status {
    int64_t from = 0;
    for_each_row<1>(updates.shape, {strides}, [&](const auto& at, const auto& step, int64_t n) {
      for (int64_t i = 0; i < n; ++i, ++from)
        join(from, at[0] + i * step[0] + index[static_cast<size_t>(from)] * along);
    });
    return {};
  });
}

}  // namespace

OpDef define_scatter_elements() {
  return {
      .summary = "y = data, but y[i…, indices[i…, j, k…], k…] joins updates[i…, j, k…], the index standing along axis",
      .inputs = {{"data"}, {"indices"}, {"updates"}},
      .attrs = {{"axis", int64_t{0}, false, "in [-rank, rank)"}, reduction_attr()},
      .infer = infer,
      .reference = reference};
}

}  // namespace tenon::ops
