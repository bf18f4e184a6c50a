#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  const Shape& x = c.shape(0);
  const Shape& shape = c.attrs.shape("shape");
  if (shape.size() < x.size()) return error(ErrorCode::kBadModel, "cannot expand rank {} to rank {}", x.size(), shape.size());
  TENON_TRY(check_sizes(shape));
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] != Dim(1)) TENON_TRY(c.same(x[i], shape[shape.size() - x.size() + i]).status());
  }
  std::optional<KnownDims> known;
  if (const KnownDims* k = c.known(0); k != nullptr && ir::all_const(shape)) {
    known = known_view(k, {0, broadcast_strides(k->shape, ir::const_values(shape))}, c.dtype(0), shape);
  }
  return c.output(c.dtype(0), shape, std::move(known));
}

Status reference(const Attrs&, const RunArgs& args) {
  TENON_TRY(check_broadcast(args));
  copy_view(args.input(0), {0, broadcast_strides(args.input(0).shape, args.output().shape)}, args.output());
  return {};
}

}  // namespace

OpDef define_expand() {
  return {.summary = "y = x broadcast to shape, as numpy does",
          .inputs = {{"x"}},
          .attrs = {{"shape", Shape{}, true, "final sizes: an axis of x has this size or 1"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
