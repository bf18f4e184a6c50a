#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  if (is_narrow(c.dtype(0))) return error(ErrorCode::kUnsupported, "{} is not compared with 0", dtype_name(c.dtype(0)));
  TENON_TRY(c.output(DType::kI64, {Dim(c.rank(0)), ir::numel(c.shape(0))}));
  return c.output(DType::kI64, {});
}

Status reference(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output(0), count = args.output(1);
  const int64_t n = x.numel();
  std::fill_n(y.as<int64_t>(), y.numel(), int64_t{0});
  int64_t found = 0;
  visit_dtype(x.dtype, [&]<class T>() {
    using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;
    for (int64_t i = 0; i < n; ++i) {
      if (!convert<bool>(x.as<Stored>()[i])) continue;
      int64_t rest = i;
      for (int axis = x.rank(); axis-- > 0; rest /= x.dim(axis)) y.as<int64_t>()[axis * n + found] = rest % x.dim(axis);
      ++found;
    }
  });
  *count.as<int64_t>() = found;
  return {};
}

}  // namespace

OpDef define_nonzero() {
  return {
      .summary =
          "indices of the elements of x that are not 0, column by column in row-major order, and how many there are; "
          "-> [rank, numel] whose columns behind `count` are 0, i64[]",
      .inputs = {{"x"}},
      .outputs = {"indices", "count"},
      .infer = infer,
      .reference = reference};
}

}  // namespace tenon::ops
