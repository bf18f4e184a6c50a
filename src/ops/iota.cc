#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  const Shape& start = c.attrs.shape("start");
  const Shape& size = c.attrs.shape("size");
  const DType dtype = c.attrs.dtype("dtype");
  if (start.size() != 1 || size.size() != 1) return error(ErrorCode::kBadModel, "start and size have one entry each");
  if (dtype == DType::kBool) return error(ErrorCode::kBadModel, "iota makes numbers, not bool");
  TENON_TRY(check_sizes(size));
  std::optional<KnownDims> known = make_known(dtype, size);
  if (known) {
    for (size_t i = 0; i < known->values.size(); ++i) {
      known->values[i] = start[0] + Dim(c.attrs.integer("step")) * Dim(static_cast<int64_t>(i));
    }
  }
  return c.output(dtype, size, std::move(known));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  // Unsigned, so that overflow wraps.
  const auto start = static_cast<uint64_t>(args.size("start")[0]), step = static_cast<uint64_t>(attrs.integer("step"));
  const TensorArg& y = args.output();
  const auto n = static_cast<uint64_t>(y.numel());
  return visit_number(y.dtype, [&]<class T>() -> Status {
    for (uint64_t i = 0; i < n; ++i) y.as<T>()[i] = convert<T>(static_cast<int64_t>(start + step * i));
    return {};
  });
}

}  // namespace

OpDef define_iota() {
  return {.summary = "y[i] = start + i * step; -> [size]",
          .inputs = {},
          .attrs = {{"start", Shape{Dim(0)}, false, "one entry"},
                    {"step", int64_t{1}},
                    {"size", Shape{}, true, "one entry: the number of elements"},
                    {"dtype", DType::kI64, false, "any type but bool"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
