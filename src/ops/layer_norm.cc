#include <cmath>

#include "ops/checks.h"
#include "ops/norm_rows.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  const Shape shape = c.shape(0);
  TENON_ASSIGN(const int axis, c.axis(c.attrs.integer("axis"), c.rank(0)));
  const Shape inner(shape.begin() + axis, shape.end());
  if (c.has(1)) TENON_TRY(require_type(c, 1, c.dtype(0), inner));
  if (c.has(2)) TENON_TRY(require_type(c, 2, c.dtype(0), inner));
  if (c.has(3)) TENON_TRY(require_type(c, 3, c.dtype(0), shape));
  return c.output(c.dtype(0), shape);
}

// Two passes in double: the mean first, then the squares of the differences.
Status reference(const Attrs& attrs, const RunArgs& args) {
  const double epsilon = attrs.number("epsilon");
  return normalize_rows(attrs, args, 3, [&]<class T>(const auto& s, int64_t size, T* y) {
    const T *gamma = args.input(1).as<const T>(), *beta = args.input(2).as<const T>();
    const auto n = static_cast<double>(size);
    double sum = 0, squares = 0;
    for (int64_t j = 0; j < size; ++j) sum += s(j);
    const double mean = sum / n;
    for (int64_t j = 0; j < size; ++j) squares += (s(j) - mean) * (s(j) - mean);
    const double scale = 1.0 / std::sqrt(squares / n + epsilon);
    for (int64_t j = 0; j < size; ++j) {
      const double g = gamma ? convert<double>(gamma[j]) : 1.0;
      const double b = beta ? convert<double>(beta[j]) : 0.0;
      y[j] = convert<T>((s(j) - mean) * scale * g + b);
    }
  });
}

double flops(const Attrs&, std::span<const TensorArg>, std::span<const TensorArg> outputs) {
  return 8.0 * static_cast<double>(outputs[0].numel());
}

}  // namespace

OpDef define_layer_norm() {
  return {.summary = "s = x + residual; y = (s - mean(s)) / sqrt(var(s) + epsilon) * gamma + beta over axes [axis, rank); "
                     "gamma, beta of those axes' shape, residual of x's",
          .inputs = {{"x"}, {"gamma", Arity::kOptional}, {"beta", Arity::kOptional}, {"residual", Arity::kOptional}},
          .attrs = {{"axis", int64_t{-1}, false, "the first normalised axis"}, {"epsilon", 1e-5, false, "added to the variance"}},
          .locality = Locality::kRow,
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
