#include <cmath>
#include <numeric>

#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  TENON_ASSIGN(const int axis, c.axis(c.attrs.integer("axis"), c.rank(0)));
  const Shape& k = c.attrs.shape("k");
  if (k.size() != 1) return error(ErrorCode::kBadModel, "k has {} elements", k.size());
  Shape shape = c.shape(0);
  if ((k[0] - shape[static_cast<size_t>(axis)]).at_least(1)) {
    return error(ErrorCode::kBadModel, "the {} greatest of {} elements", k[0].to_string(),
                 shape[static_cast<size_t>(axis)].to_string());
  }
  shape[static_cast<size_t>(axis)] = k[0];
  TENON_TRY(check_sizes(shape));
  TENON_TRY(c.output(c.dtype(0), shape));
  return c.output(DType::kI64, std::move(shape));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output(0), indices = args.output(1);
  const int64_t attr = attrs.integer("axis");
  const int axis = static_cast<int>(attr < 0 ? attr + x.rank() : attr);
  const bool largest = attrs.integer("largest") != 0;
  const int64_t outer = product(x.shape, 0, axis), n = x.dim(axis), k = y.dim(axis),
                inner = product(x.shape, axis + 1, x.rank());
  if (k > n) return error(ErrorCode::kBadInput, "{} of {} elements are wanted", k, n);
  return visit_number(x.dtype, [&]<class T>() -> Status {
    std::vector<int64_t> order(static_cast<size_t>(n));
    for (int64_t row = 0; row < outer * inner; ++row) {
      const int64_t o = row / inner, i = row % inner;
      const T* from = x.as<T>() + o * n * inner + i;
      std::iota(order.begin(), order.end(), int64_t{0});
      // NaN is greater than anything, earlier elements stand before equal later ones.
      const auto before = [&](int64_t a, int64_t b) {
        const auto u = static_cast<Compute<T>>(from[a * inner]), v = static_cast<Compute<T>>(from[b * inner]);
        if (u == v || (u != u && v != v)) return a < b;
        const bool greater = u != u || u > v;
        return v != v ? !largest : greater == largest;
      };
      std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
      for (int64_t j = 0; j < k; ++j) {
        const int64_t at = (o * k + j) * inner + i;
        y.as<T>()[at] = from[order[static_cast<size_t>(j)] * inner];
        indices.as<int64_t>()[at] = order[static_cast<size_t>(j)];
      }
    }
    return {};
  });
}

}  // namespace

OpDef define_top_k() {
  return {
      .summary =
          "y = the k greatest (or least) elements along axis, in order, and their indices; the first of equals first",
      .inputs = {{"x"}},
      .outputs = {"y", "indices"},
      .attrs = {{"k", Shape{}, true, "one size"},
                {"axis", int64_t{-1}, false, "in [-rank, rank)"},
                {"largest", int64_t{1}, false, "0: the least"}},
      .infer = infer,
      .flops = flops_per_input,
      .reference = reference};
}

}  // namespace tenon::ops
