#include <cmath>

#include "ops/checks.h"
#include "ops/norm_rows.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  const Shape shape = c.shape(0);
  TENON_ASSIGN(const int axis, c.axis(c.attrs.integer("axis"), c.rank(0)));
  if (c.has(1)) TENON_TRY(require_type(c, 1, c.dtype(0), Shape(shape.begin() + axis, shape.end())));
  if (c.has(2)) TENON_TRY(require_type(c, 2, c.dtype(0), shape));
  return c.output(c.dtype(0), shape);
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const double epsilon = attrs.number("epsilon");
  return normalize_rows(attrs, args, 2, [&]<class T>(const auto& s, int64_t size, T* y) {
    const T* gamma = args.input(1).as<const T>();
    double squares = 0;
    for (int64_t j = 0; j < size; ++j) squares += s(j) * s(j);
    const double scale = 1.0 / std::sqrt(squares / static_cast<double>(size) + epsilon);
    for (int64_t j = 0; j < size; ++j) y[j] = convert<T>(s(j) * scale * (gamma ? convert<double>(gamma[j]) : 1.0));
  });
}

double flops(const Attrs&, std::span<const TensorArg>, std::span<const TensorArg> outputs) {
  return 4.0 * static_cast<double>(outputs[0].numel());
}

}  // namespace

OpDef define_rms_norm() {
  return {.summary = "s = x + residual; y = s / sqrt(mean(s^2) + epsilon) * gamma over axes [axis, rank); gamma of those axes' "
                     "shape, residual of x's",
          .inputs = {{"x"}, {"gamma", Arity::kOptional}, {"residual", Arity::kOptional}},
          .attrs = {{"axis", int64_t{-1}, false, "the first normalised axis"},
                    {"epsilon", 1e-5, false, "added to the mean square"}},
          .locality = Locality::kRow,
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
