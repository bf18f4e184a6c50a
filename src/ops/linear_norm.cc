#include "ops/linear_norm.h"

#include <cmath>

#include "ops/activation.h"
#include "ops/checks.h"
#include "ops/matrix_product.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

enum Input { kX, kW, kBias, kResidual, kXMoments, kResidualMoments, kGamma };

// The type of the moments of rows of this shape. Errors: bad-model.
Result<Shape> moments_shape(const Shape& rows) {
  const Dim width = rows.back();
  if (!width.is_const() || width.value() % kMomentsPanel != 0) {
    return error(ErrorCode::kBadModel, "rows of {} elements are not whole panels of {}", width.to_string(),
                 kMomentsPanel);
  }
  Shape shape = rows;
  shape.back() = Dim(width.value() / kMomentsPanel);
  shape.push_back(Dim(2));
  return shape;
}

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, kX, DTypes::kFloat));
  TENON_TRY(require_dtype(c, kW, c.dtype(kX)));
  TENON_TRY(require_rank(c, kW, 2));
  if (c.rank(kX) == 0) return error(ErrorCode::kBadModel, "input 0 is a scalar, rows expected");
  if (const auto activation = parse_activation(c.attrs.text("activation")); !activation || !is_of_linear(*activation)) {
    return error(ErrorCode::kBadModel, "unknown activation '{}'", c.attrs.text("activation"));
  }
  Shape y = c.shape(kX);
  if (Status s = c.same(y.back(), c.shape(kW)[0]).status(); !s.ok()) return s.with_context("summed axis");
  y.back() = c.shape(kW)[1];
  if (c.has(kBias)) TENON_TRY(require_type(c, kBias, DType::kF32, {y.back()}));
  if (c.has(kResidual)) TENON_TRY(require_type(c, kResidual, c.dtype(kX), y));
  if (c.has(kXMoments)) {
    TENON_ASSIGN(const Shape shape, moments_shape(c.shape(kX)));
    TENON_TRY(require_type(c, kXMoments, DType::kF32, shape));
  }
  if (c.has(kGamma) != c.has(kResidualMoments) || (c.has(kGamma) && !c.has(kResidual))) {
    return error(ErrorCode::kBadModel, "residual_moments and gamma go together, with a residual");
  }
  if (c.has(kGamma)) {
    TENON_ASSIGN(const Shape shape, moments_shape(y));
    TENON_TRY(require_type(c, kResidualMoments, DType::kF32, shape));
    TENON_TRY(require_type(c, kGamma, DType::kF32, {y.back()}));
  }
  TENON_TRY(c.output(c.dtype(kX), y));
  if (c.attrs.integer("moments") == 0) return {};
  TENON_ASSIGN(Shape shape, moments_shape(y));
  return c.output(DType::kF32, std::move(shape));
}

struct Norm {
  double mean = 0, scale = 1;
};

// Of a row of `panels` panels from their moments.
Norm norm_of(const float* moments, int64_t panels, double epsilon) {
  Norm norm;
  for (int64_t p = 0; p < panels; ++p) norm.mean += moments[2 * p] / static_cast<double>(panels);
  double squares = 0;
  for (int64_t p = 0; p < panels; ++p) {
    const double apart = moments[2 * p] - norm.mean;
    squares += moments[2 * p + 1] + kMomentsPanel * apart * apart;
  }
  norm.scale = 1 / std::sqrt(squares / static_cast<double>(kMomentsPanel * panels) + epsilon);
  return norm;
}

template <class T>
void write_moments(const T* row, int64_t width, float* moments) {
  for (int64_t p = 0; p < width / kMomentsPanel; ++p, row += kMomentsPanel) {
    double mean = 0, squares = 0;
    for (int64_t j = 0; j < kMomentsPanel; ++j) mean += convert<double>(row[j]) / kMomentsPanel;
    for (int64_t j = 0; j < kMomentsPanel; ++j)
      squares += (convert<double>(row[j]) - mean) * (convert<double>(row[j]) - mean);
    moments[2 * p] = static_cast<float>(mean);
    moments[2 * p + 1] = static_cast<float>(squares);
  }
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(kX), y = args.output(), bias = args.input(kBias), residual = args.input(kResidual);
  const TensorArg x_moments = args.input(kXMoments), residual_moments = args.input(kResidualMoments),
                  gamma = args.input(kGamma);
  const int64_t k = args.input(kW).dim(0), n = args.input(kW).dim(1), x_panels = k / kMomentsPanel,
                y_panels = n / kMomentsPanel;
  if (x.dim(-1) != k) {
    return error(ErrorCode::kBadInput, "cannot multiply {} by {}", shape_text(x.shape),
                 shape_text(args.input(kW).shape));
  }
  const double epsilon = attrs.number("epsilon");
  const Activation activation = *parse_activation(attrs.text("activation"));
  return visit_float(y.dtype, [&]<class T>() -> Status {
    using A = Compute<T>;
    TENON_ASSIGN(const Tensor a, widen<A>(x));
    TENON_ASSIGN(const Tensor w, widen<A>(args.input(kW)));
    for_chunks(args.pool, product(x.shape, 0, x.rank() - 1), [&](int64_t begin, int64_t end) {
      std::vector<A> sums(static_cast<size_t>(n));
      for (int64_t i = begin; i < end; ++i) {
        matrix_product(1, n, k, a.as<A>() + i * k, k, w.as<A>(), n, sums.data(), n);
        Norm of_x, of_residual;
        if (x_moments) of_x = norm_of(x_moments.as<const float>() + i * x_panels * 2, x_panels, epsilon);
        if (gamma) of_residual = norm_of(residual_moments.as<const float>() + i * y_panels * 2, y_panels, epsilon);
        T* row = y.as<T>() + i * n;
        for (int64_t j = 0; j < n; ++j) {
          double v = static_cast<double>(sums[static_cast<size_t>(j)]) * of_x.scale;
          if (bias) v += bias.as<const float>()[j];
          v = activate(activation, v);
          if (residual) {
            const double r =
                (convert<double>(residual.as<const T>()[i * n + j]) - of_residual.mean) * of_residual.scale;
            v += gamma ? r * gamma.as<const float>()[j] : r;
          }
          row[j] = convert<T>(v);
        }
        if (args.outputs.size() > 1) write_moments(row, n, args.output(1).as<float>() + i * y_panels * 2);
      }
    });
    return {};
  });
}

double flops(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg> outputs) {
  return (2.0 * static_cast<double>(inputs[kX].dim(-1)) + 8) * static_cast<double>(outputs[0].numel());
}

}  // namespace

OpDef define_linear_norm() {
  return {
      .summary =
          "linear between two LayerNorms that nobody computes: y = activation(x W / std(x) + bias) + (residual - mean) "
          "/ "
          "std(residual) * gamma; without moments x or residual is taken as it is. The moments of rows [..., H] are "
          "[..., H/64, 2] in f32: of each 64 elements their mean and the sum of their squared differences from it. w "
          "[K, N] "
          "has columns whose sum is 0 where x has moments, so that x's mean drops out",
      .inputs = {{"x"},
                 {"w"},
                 {"bias", Arity::kOptional},
                 {"residual", Arity::kOptional},
                 {"x_moments", Arity::kOptional},
                 {"residual_moments", Arity::kOptional},
                 {"gamma", Arity::kOptional}},
      .outputs = {"y", "moments"},
      .attrs = {{"activation", std::string(), false, "as of linear"},
                {"epsilon", 1e-5, false, "added to the variances"},
                {"moments", int64_t{0}, false, "1: the second output is the moments of y's rows"}},
      .locality = Locality::kRow,
      .infer = infer,
      .flops = flops,
      .reference = reference};
}

}  // namespace tenon::ops
