// Checks of input types that inference functions of fused ops share. Errors: bad-model, naming the input; the caller adds the
// node.
#pragma once

#include "ops/support.h"

namespace tenon::ops {

inline Status require_dtype(const InferContext& c, int input, DType dtype) {
  if (c.dtype(input) == dtype) return {};
  return error(ErrorCode::kBadModel, "input {} is {}, {} expected", input, dtype_name(c.dtype(input)), dtype_name(dtype));
}

inline Status require_rank(const InferContext& c, int input, int rank) {
  if (c.rank(input) == rank) return {};
  return error(ErrorCode::kBadModel, "input {} has rank {}, {} expected", input, c.rank(input), rank);
}

// Sizes that cannot be compared are assumed to be equal (InferContext::same).
inline Status require_shape(InferContext& c, int input, const Shape& shape) {
  TENON_TRY(require_rank(c, input, static_cast<int>(shape.size())));
  for (size_t i = 0; i < shape.size(); ++i) {
    const Status same = c.same(shape[i], c.shape(input)[i]).status();
    if (!same.ok()) return same.with_context(fmt::format("input {}, axis {}", input, i));
  }
  return {};
}

inline Status require_type(InferContext& c, int input, DType dtype, const Shape& shape) {
  TENON_TRY(require_dtype(c, input, dtype));
  return require_shape(c, input, shape);
}

}  // namespace tenon::ops
