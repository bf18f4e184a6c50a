#include <cmath>

#include "ops/wide.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  Shape shape = c.shape(0);
  if (shape.size() < 2) return error(ErrorCode::kBadModel, "a matrix of rank {}", shape.size());
  TENON_TRY(c.same(shape[shape.size() - 1], shape[shape.size() - 2]).status());
  shape.resize(shape.size() - 2);
  return c.output(c.dtype(0), std::move(shape));
}

// Gaussian elimination with the greatest pivot; destroys m.
double determinant(std::vector<double>& m, size_t n) {
  double det = 1;
  for (size_t i = 0; i < n; ++i) {
    size_t pivot = i;
    for (size_t r = i + 1; r < n; ++r)
      if (std::abs(m[r * n + i]) > std::abs(m[pivot * n + i])) pivot = r;
    if (m[pivot * n + i] == 0) return 0;
    if (pivot != i) {
      std::swap_ranges(m.begin() + static_cast<std::ptrdiff_t>(i * n),
                       m.begin() + static_cast<std::ptrdiff_t>((i + 1) * n),
                       m.begin() + static_cast<std::ptrdiff_t>(pivot * n));
      det = -det;
    }
    det *= m[i * n + i];
    for (size_t r = i + 1; r < n; ++r) {
      const double factor = m[r * n + i] / m[i * n + i];
      for (size_t j = i; j < n; ++j) m[r * n + j] -= factor * m[i * n + j];
    }
  }
  return det;
}

Status reference(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t n = x.dim(-1);
  if (x.dim(-2) != n) return error(ErrorCode::kBadInput, "matrices of {} are not square", shape_text(x.shape));
  return visit_float(x.dtype, [&]<class T>() -> Status {
    for (int64_t i = 0; i < y.numel(); ++i) {
      const T* from = x.as<T>() + i * n * n;
      std::vector<double> matrix(static_cast<size_t>(n * n));
      std::transform(from, from + n * n, matrix.begin(), [](T v) { return convert<double>(v); });
      y.as<T>()[i] = convert<T>(determinant(matrix, static_cast<size_t>(n)));
    }
    return {};
  });
}

}  // namespace

OpDef define_det() {
  return {.summary = "y = determinant of each matrix; x [..., N, N] -> [...]",
          .inputs = {{"x"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
