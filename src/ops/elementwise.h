// The loop and the inference that elementwise ops of two inputs share.
#pragma once

#include "ops/scalar_functions.h"
#include "ops/support.h"

namespace tenon::ops {

// y = f(a, b) over the broadcast shape. In is the elements' type in memory, Out the result's.
template <class In, class Out, class F>
void zip(const In* a, const In* b, std::array<std::span<const int64_t>, 2> strides, std::span<const int64_t> shape, Out* y, F f) {
  for_each_row<2>(shape, strides, [&](const auto& at, const auto& step, int64_t n) {
    const In *pa = a + at[0], *pb = b + at[1];
    for (int64_t i = 0; i < n; ++i) *y++ = static_cast<Out>(f(pa[i * step[0]], pb[i * step[1]]));
  });
}

template <class In, class Out, class F>
void zip(const RunArgs& args, F f) {
  const TensorArg a = args.input(0), b = args.input(1), y = args.output();
  const auto sa = broadcast_strides(a.shape, y.shape), sb = broadcast_strides(b.shape, y.shape);
  zip(a.as<In>(), b.as<In>(), {sa, sb}, y.shape, y.as<Out>(), f);
}

// Known contents of y from those of a and b; f gives nothing where the result is not decided.
using KnownFunction = std::optional<Dim> (*)(const Attrs&, const Dim&, const Dim&);
std::optional<KnownDims> zip_known(const InferContext& context, DType dtype, const Shape& shape, KnownFunction f);

}  // namespace tenon::ops
