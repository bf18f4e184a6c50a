#include <cmath>
#include <limits>

#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  TENON_TRY(c.axis(c.attrs.integer("axis"), c.rank(0)).status());
  return c.output(c.dtype(0), c.shape(0));
}

// Maximum, exponential, sum, quotient.
double flops(const Attrs&, std::span<const TensorArg> inputs, std::span<const TensorArg>) {
  return 5 * static_cast<double>(inputs[0].numel());
}

// The greatest is subtracted first. A row of -inf only gives NaN, as -inf - -inf does.
template <bool kLog>
Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t attr = attrs.integer("axis");
  const int axis = static_cast<int>(attr < 0 ? attr + x.rank() : attr);
  const int64_t outer = product(x.shape, 0, axis), n = x.dim(axis), inner = product(x.shape, axis + 1, x.rank());
  return visit_float(x.dtype, [&]<class T>() -> Status {
    for (int64_t o = 0; o < outer; ++o) {
      for (int64_t i = 0; i < inner; ++i) {
        const T* from = x.as<T>() + o * n * inner + i;
        T* to = y.as<T>() + o * n * inner + i;
        double top = -std::numeric_limits<double>::infinity(), sum = 0;
        for (int64_t j = 0; j < n; ++j) top = std::max(top, convert<double>(from[j * inner]));
        for (int64_t j = 0; j < n; ++j) sum += std::exp(convert<double>(from[j * inner]) - top);
        const double log_sum = std::log(sum);
        for (int64_t j = 0; j < n; ++j) {
          const double d = convert<double>(from[j * inner]) - top;
          to[j * inner] = convert<T>(kLog ? d - log_sum : std::exp(d) / sum);
        }
      }
    }
    return {};
  });
}

OpDef along_axis(std::string_view summary, Status (*reference_loop)(const Attrs&, const RunArgs&)) {
  return {.summary = summary,
          .inputs = {{"x"}},
          .attrs = {{"axis", int64_t{-1}, false, "in [-rank, rank)"}},
          .locality = Locality::kRow,
          .infer = infer,
          .flops = flops,
          .reference = reference_loop};
}

}  // namespace

OpDef define_softmax() { return along_axis("y = e^x / (sum of e^x along axis); a row of -inf gives NaN", reference<false>); }
OpDef define_log_softmax() { return along_axis("y = x - ln(sum of e^x along axis)", reference<true>); }

}  // namespace tenon::ops
