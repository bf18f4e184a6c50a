#include <limits>

#include "ops/checks.h"
#include "ops/wide.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  const std::string& kind = c.attrs.text("kind");
  if (kind != "sum" && kind != "mean" && kind != "max") return error(ErrorCode::kBadModel, "unknown kind '{}'", kind);
  if (c.rank(0) == 0) return error(ErrorCode::kBadModel, "input 0 is a scalar, rows expected");
  TENON_TRY(require_rank(c, 1, 1));
  TENON_TRY(require_dtype(c, 1, DType::kI32));
  TENON_TRY(require_type(c, 2, DType::kI32, c.shape(1)));
  Shape y = c.shape(0);
  y[0] = c.shape(1)[0];
  return c.output(c.dtype(0), std::move(y));
}

// One column over rows [begin, end), at least one.
template <class T>
double reduce(const T* column, int64_t begin, int64_t end, int64_t width, bool max) {
  double result = max ? -std::numeric_limits<double>::infinity() : 0.0;
  for (int64_t row = begin; row < end; ++row) {
    const double v = convert<double>(column[row * width]);
    if (!max) result += v;
    if (max && !(v <= result) && result == result) result = v;  // keeps the first NaN
  }
  return result;
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t width = product(x.shape, 1, x.rank()), batch = y.dim(0);
  const int32_t* begin = args.input(1).as<const int32_t>();
  const int32_t* end = args.input(2).as<const int32_t>();
  for (int64_t b = 0; b < batch; ++b) {
    if (begin[b] >= 0 && begin[b] <= end[b] && end[b] <= x.dim(0)) continue;
    return error(ErrorCode::kBadInput, "sequence {}: rows {} to {} are not among the {} given", b, begin[b], end[b], x.dim(0));
  }
  const bool mean = attrs.text("kind") == "mean", max = attrs.text("kind") == "max";
  return visit_float(x.dtype, [&]<class T>() -> Status {
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t count = end[b] - begin[b];
      for (int64_t j = 0; j < width; ++j) {
        const double total = count == 0 ? 0.0 : reduce(x.as<const T>() + j, begin[b], end[b], width, max);
        y.as<T>()[b * width + j] = convert<T>(mean && count > 0 ? total / static_cast<double>(count) : total);
      }
    }
    return {};
  });
}

}  // namespace

OpDef define_segment_reduce() {
  return {.summary = "y[b] = sum, mean or max of rows key_begin[b] .. key_end[b] of x [tokens, …] -> [batch, …]; an empty range gives 0; "
                     "key_begin, key_end i32[batch]",
          .inputs = {{"x"}, {"key_begin"}, {"key_end"}},
          .attrs = {{"kind", std::string(), true, "sum, mean or max"}},
          .infer = infer,
          .flops = flops_per_input,
          .reference = reference};
}

}  // namespace tenon::ops
