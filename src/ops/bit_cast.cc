#include <cstring>

#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  const DType from = c.dtype(0), to = c.attrs.dtype("to");
  if (dtype_size(from) != dtype_size(to) || is_narrow(from) != is_narrow(to)) {
    return error(ErrorCode::kBadModel, "{} and {} differ in size", dtype_name(from), dtype_name(to));
  }
  return c.output(to, c.shape(0));
}

Status reference(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const size_t bytes = static_cast<size_t>(y.numel()) * dtype_size(y.dtype);
  if (bytes > 0) std::memcpy(y.data, x.data, bytes);
  return {};
}

}  // namespace

OpDef define_bit_cast() {
  return {.summary = "y = the bytes of x as another type of the same size",
          .inputs = {{"x"}},
          .attrs = {{"to", DType::kF32, true}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
