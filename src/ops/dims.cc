#include <algorithm>

#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  const Shape& values = c.attrs.shape("values");
  const bool scalar = c.attrs.integer("scalar") != 0;
  if (scalar && values.size() != 1) return error(ErrorCode::kBadModel, "a scalar takes one value, not {}", values.size());
  const Shape shape = scalar ? Shape{} : Shape{Dim(static_cast<int64_t>(values.size()))};
  std::optional<KnownDims> known = make_known(DType::kI64, shape);
  if (known) known->values = values;
  return c.output(DType::kI64, shape, std::move(known));
}

Status reference(const Attrs&, const RunArgs& args) {
  std::ranges::copy(args.size("values"), args.output().as<int64_t>());
  return {};
}

}  // namespace

OpDef define_dims() {
  return {.summary = "y = values, sizes computed from symbols; -> i64[n], or i64[] when scalar = 1",
          .inputs = {},
          .attrs = {{"values", Shape{}, true, "the integers"}, {"scalar", int64_t{0}, false, "1: one value, as a tensor of rank 0"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
