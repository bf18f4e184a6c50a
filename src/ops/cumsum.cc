#include "ops/support.h"

namespace tenon::ops {
namespace {

// x and y are [outer, n, inner]; sums run over n. Sum is wide enough not to overflow or lose precision.
template <class Sum, class T>
void cumsum(const T* x, int64_t outer, int64_t n, int64_t inner, bool exclusive, bool reverse, T* y) {
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      Sum sum{};
      for (int64_t j = 0; j < n; ++j) {
        const int64_t at = (o * n + (reverse ? n - 1 - j : j)) * inner + i;
        const Sum before = sum;
        sum = sum + static_cast<Sum>(x[at]);
        y[at] = static_cast<T>(exclusive ? before : sum);
      }
    }
  }
}

// As cumsum, of products.
template <class Product, class T>
void cumprod(const T* x, int64_t outer, int64_t n, int64_t inner, bool exclusive, bool reverse, T* y) {
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < inner; ++i) {
      Product product{1};
      for (int64_t j = 0; j < n; ++j) {
        const int64_t at = (o * n + (reverse ? n - 1 - j : j)) * inner + i;
        const Product before = product;
        product *= static_cast<Product>(x[at]);
        y[at] = static_cast<T>(exclusive ? before : product);
      }
    }
  }
}

Status infer_products(InferContext& c) {
  TENON_TRY(c.axis(c.attrs.integer("axis"), c.rank(0)).status());
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  return c.output(c.dtype(0), c.shape(0));
}

Status infer(InferContext& c) {
  TENON_ASSIGN(const int axis, c.axis(c.attrs.integer("axis"), c.rank(0)));
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  std::optional<KnownDims> known = c.known(0) ? make_known(c.dtype(0), c.shape(0)) : std::nullopt;
  if (known) {
    const std::span<const int64_t> s = known->shape;
    cumsum<Dim>(c.known(0)->values.data(), product(s, 0, axis), s[static_cast<size_t>(axis)], product(s, axis + 1, c.rank(0)),
                c.attrs.integer("exclusive") != 0, c.attrs.integer("reverse") != 0, known->values.data());
  }
  return c.output(c.dtype(0), c.shape(0), std::move(known));
}

template <bool kProducts>
Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t attr = attrs.integer("axis");
  const int axis = static_cast<int>(attr < 0 ? attr + x.rank() : attr);
  const bool exclusive = attrs.integer("exclusive") != 0, reverse = attrs.integer("reverse") != 0;
  return visit_number(y.dtype, [&]<class T>() -> Status {
    // Unsigned sums wrap instead of overflowing.
    using Sum = std::conditional_t<std::is_integral_v<T>, uint64_t, std::conditional_t<std::is_same_v<T, double>, double, float>>;
    const int64_t outer = product(x.shape, 0, axis), n = x.dim(axis), inner = product(x.shape, axis + 1, x.rank());
    if constexpr (kProducts) {
      cumprod<Sum>(x.as<T>(), outer, n, inner, exclusive, reverse, y.as<T>());
    } else {
      cumsum<Sum>(x.as<T>(), outer, n, inner, exclusive, reverse, y.as<T>());
    }
    return {};
  });
}

OpDef running(std::string_view summary, Status (*infer_types)(InferContext&),
              Status (*loop)(const Attrs&, const RunArgs&)) {
  return {.summary = summary,
          .inputs = {{"x"}},
          .attrs = {{"axis", int64_t{0}, true, "in [-rank, rank)"},
                    {"exclusive", int64_t{0}, false, "1: without x[i] itself"},
                    {"reverse", int64_t{0}, false, "1: from the end"}},
          .infer = infer_types,
          .flops = flops_per_output,
          .reference = loop};
}

}  // namespace

OpDef define_cumsum() { return running("y[i] = sum of x[0 … i] along axis", infer, reference<false>); }
OpDef define_cumprod() { return running("y[i] = product of x[0 … i] along axis", infer_products, reference<true>); }

}  // namespace tenon::ops
