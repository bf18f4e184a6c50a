#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  if (c.rank(0) < 2) return error(ErrorCode::kBadModel, "trilu takes matrices, not rank {}", c.rank(0));
  return c.output(c.dtype(0), c.shape(0));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const bool upper = attrs.integer("upper") != 0;
  const int64_t k = attrs.integer("k");
  const int64_t rows = y.dim(-2), cols = y.dim(-1), matrices = product(y.shape, 0, y.rank() - 2);
  visit_width(y.dtype, [&]<class T>() {
    const T* from = x.as<T>();
    T* to = y.as<T>();
    for (int64_t m = 0; m < matrices; ++m) {
      for (int64_t i = 0; i < rows; ++i) {
        for (int64_t j = 0; j < cols; ++j, ++from, ++to) *to = (upper ? j - i >= k : j - i <= k) ? *from : T{};
      }
    }
  });
  return {};
}

}  // namespace

OpDef define_trilu() {
  return {.summary = "y[…, i, j] = x[…, i, j] where j - i >= k (upper) or j - i <= k (lower), else 0",
          .inputs = {{"x"}},
          .attrs = {{"upper", int64_t{1}, false, "1: upper triangle, 0: lower"}, {"k", int64_t{0}, false, "the diagonal; 0 is the main one"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
