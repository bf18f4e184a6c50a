#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_ASSIGN(const int axis, c.axis(c.attrs.integer("axis"), c.rank(0)));
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  Shape shape = c.shape(0);
  if (shape[static_cast<size_t>(axis)] == Dim(0)) return error(ErrorCode::kBadModel, "axis {} has no elements", axis);
  if (c.attrs.integer("keepdims") != 0) {
    shape[static_cast<size_t>(axis)] = 1;
  } else {
    shape.erase(shape.begin() + axis);
  }
  return c.output(DType::kI64, std::move(shape));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t attr = attrs.integer("axis");
  const int axis = static_cast<int>(attr < 0 ? attr + x.rank() : attr);
  const bool last = attrs.integer("last") != 0;
  const int64_t outer = product(x.shape, 0, axis), n = x.dim(axis), inner = product(x.shape, axis + 1, x.rank());
  if (n == 0 && y.numel() > 0) return error(ErrorCode::kBadInput, "axis {} of {} has no elements", axis, shape_text(x.shape));
  return visit_number(x.dtype, [&]<class T>() -> Status {
    int64_t* to = y.as<int64_t>();
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        const T* row = x.as<T>() + o * n * inner + i;
        int64_t best = 0;
        for (int64_t j = 1; j < n; ++j) {
          const auto v = static_cast<Compute<T>>(row[j * inner]), top = static_cast<Compute<T>>(row[best * inner]);
          if (v > top || (last && v == top)) best = j;
        }
        *to++ = best;
      }
    }
    return {};
  });
}

}  // namespace

OpDef define_arg_max() {
  return {.summary = "y = index of the greatest x along axis, the first of equals; -> i64",
          .inputs = {{"x"}},
          .attrs = {{"axis", int64_t{0}, true, "in [-rank, rank)"},
                    {"keepdims", int64_t{1}, false, "1: the axis stays with size 1"},
                    {"last", int64_t{0}, false, "1: the last of equals"}},
          .infer = infer,
          .flops = flops_per_input,
          .reference = reference};
}

}  // namespace tenon::ops
