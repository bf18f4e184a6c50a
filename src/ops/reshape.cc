#include <cstring>

#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  const Shape& shape = c.attrs.shape("shape");
  TENON_TRY(check_sizes(shape));
  const Dim difference = ir::numel(c.shape(0)) - ir::numel(shape);
  if (difference.at_least(1) || (-difference).at_least(1)) {
    return error(ErrorCode::kBadModel, "{} and {} have different numbers of elements", ir::to_string(c.shape(0)), ir::to_string(shape));
  }
  std::optional<KnownDims> known = c.known(0) ? make_known(c.dtype(0), shape) : std::nullopt;
  if (known) known->values = c.known(0)->values;
  return c.output(c.dtype(0), shape, std::move(known));
}

Status reference(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  if (x.numel() != y.numel()) {
    return error(ErrorCode::kBadInput, "a tensor of shape {} cannot be reshaped to {}", shape_text(x.shape), shape_text(y.shape));
  }
  const size_t bytes = static_cast<size_t>(y.numel()) * dtype_size(y.dtype);
  if (bytes > 0 && x.data != y.data) std::memcpy(y.data, x.data, bytes);
  return {};
}

}  // namespace

OpDef define_reshape() {
  return {.summary = "y = the elements of x, in order, under another shape",
          .inputs = {{"x"}},
          .attrs = {{"shape", Shape{}, true, "final sizes: importers have resolved 0 and -1"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
