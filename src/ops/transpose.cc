#include "ops/support.h"

namespace tenon::ops {
namespace {

StridedView view_of(std::span<const int64_t> shape, std::span<const int64_t> perm) {
  const std::vector<int64_t> strides = strides_of(shape);
  StridedView view;
  for (int64_t axis : perm) view.strides.push_back(strides[static_cast<size_t>(axis)]);
  return view;
}

Status infer(InferContext& c) {
  const std::vector<int64_t>& perm = c.attrs.integers("perm");
  const Shape& x = c.shape(0);
  std::vector<int64_t> sorted = perm;
  std::ranges::sort(sorted);
  bool valid = perm.size() == x.size();
  for (size_t i = 0; i < sorted.size(); ++i) valid = valid && sorted[i] == static_cast<int64_t>(i);
  if (!valid) return error(ErrorCode::kBadModel, "perm {} is not a permutation of {} axes", shape_text(perm), x.size());
  Shape shape;
  for (int64_t axis : perm) shape.push_back(x[static_cast<size_t>(axis)]);
  std::optional<KnownDims> known;
  if (const KnownDims* k = c.known(0)) known = known_view(k, view_of(k->shape, perm), c.dtype(0), shape);
  return c.output(c.dtype(0), std::move(shape), std::move(known));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  copy_view(args.input(0), view_of(args.input(0).shape, attrs.integers("perm")), args.output());
  return {};
}

}  // namespace

OpDef define_transpose() {
  return {.summary = "axis i of y is axis perm[i] of x",
          .inputs = {{"x"}},
          .attrs = {{"perm", std::vector<int64_t>{}, true, "a permutation of x's axes"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
