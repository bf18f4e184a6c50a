#include <cstring>

#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  const Tensor& value = c.attrs.tensor("value");
  Shape shape = ir::to_shape(value.shape());
  std::optional<KnownDims> known = value.has_data() ? make_known(value.dtype(), shape) : std::nullopt;
  for (int64_t i = 0; known && i < value.numel(); ++i) known->values[static_cast<size_t>(i)] = value.int_at(i);
  return c.output(value.dtype(), std::move(shape), std::move(known));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const Tensor& value = attrs.tensor("value");
  if (!value.has_data()) return error(ErrorCode::kInternal, "constant \"{}\" has no data", attrs.text("name"));
  if (value.bytes() > 0) std::memcpy(args.output().data, value.data(), value.bytes());
  return {};
}

}  // namespace

OpDef define_constant() {
  return {.summary = "y = value, a parameter of the model or a literal",
          .inputs = {},
          .attrs = {{"value", Tensor{}, true, "the data"},
                    {"name", std::string(), false, "the parameter's name in the source model"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
