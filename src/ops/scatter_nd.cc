#include <cstring>

#include "ops/scatter.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 1, DTypes::kInteger));
  TENON_TRY(check_reduction(c));
  const Shape &data = c.shape(0), &indices = c.shape(1), &updates = c.shape(2);
  if (c.dtype(2) != c.dtype(0)) {
    return error(ErrorCode::kBadModel, "data is {}, updates are {}", dtype_name(c.dtype(0)), dtype_name(c.dtype(2)));
  }
  if (indices.empty() || !indices.back().is_const()) return error(ErrorCode::kBadModel, "indices need a constant last axis");
  const int64_t depth = indices.back().value();
  if (depth < 0 || depth > c.rank(0)) return error(ErrorCode::kBadModel, "tuples of {} indices do not fit data of rank {}", depth, c.rank(0));
  Shape wanted(indices.begin(), indices.end() - 1);
  wanted.insert(wanted.end(), data.begin() + depth, data.end());
  if (wanted.size() != updates.size()) {
    return error(ErrorCode::kBadModel, "updates are {}, but must be {}", ir::to_string(updates), ir::to_string(wanted));
  }
  for (size_t i = 0; i < wanted.size(); ++i) TENON_TRY(c.same(wanted[i], updates[i]).status());
  return c.output(c.dtype(0), data);
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg data = args.input(0), indices = args.input(1), updates = args.input(2), y = args.output();
  TENON_ASSIGN(const std::vector<int64_t> index, read_ints(indices));
  const auto depth = static_cast<size_t>(indices.shape.back());
  const int64_t rows = product(indices.shape, size_t{0}, indices.shape.size() - 1), inner = product(y.shape, depth, y.shape.size());
  if (updates.numel() != rows * inner) {
    return error(ErrorCode::kBadInput, "updates of shape {} do not fit indices of shape {}", shape_text(updates.shape), shape_text(indices.shape));
  }
  const size_t bytes = static_cast<size_t>(y.numel()) * dtype_size(y.dtype);
  if (bytes > 0 && y.data != data.data) std::memcpy(y.data, data.data, bytes);
  const std::vector<int64_t> strides = strides_of(y.shape);
  return with_reduction(attrs.text("reduction"), updates, y, [&](auto join) -> Status {
    const int64_t* tuple = index.data();
    for (int64_t row = 0; row < rows; ++row, tuple += depth) {
      int64_t at = 0;
      for (size_t k = 0; k < depth; ++k) {
        if (tuple[k] < -y.shape[k] || tuple[k] >= y.shape[k]) {
          return error(ErrorCode::kBadInput, "index {} of tuple {} is out of range for an axis of size {}", tuple[k],
                       row, y.shape[k]);
        }
        at += (tuple[k] < 0 ? tuple[k] + y.shape[k] : tuple[k]) * strides[k];
      }
      for (int64_t i = 0; i < inner; ++i) join(row * inner + i, at + i);
    }
    return {};
  });
}

}  // namespace

OpDef define_scatter_nd() {
  return {.summary = "y = data, but y[indices[j…, :], i…] joins updates[j…, i…]; indices [J…, k], updates [J…, I…]",
          .inputs = {{"data"}, {"indices"}, {"updates"}},
          .attrs = {reduction_attr()},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
