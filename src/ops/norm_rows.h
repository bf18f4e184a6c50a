// What layer_norm and rms_norm share: their rows, the elements over axes [axis, rank).
#pragma once

#include "ops/wide.h"

namespace tenon::ops {

// Calls normalize(s, size, y) for each row of input 0, where s(j) is its element j plus that of input `residual`, if there
// is one, in double, and y the output's row.
template <class Normalize>
Status normalize_rows(const Attrs& attrs, const RunArgs& args, int residual, Normalize&& normalize) {
  const TensorArg x = args.input(0), added = args.input(residual);
  const int64_t axis = attrs.integer("axis");
  const int64_t size = product(x.shape, static_cast<int>(axis < 0 ? axis + x.rank() : axis), x.rank());
  return visit_float(x.dtype, [&]<class T>() -> Status {
    for_chunks(args.pool, size == 0 ? 0 : x.numel() / size, [&](int64_t begin, int64_t end) {
      for (int64_t at = begin * size; at < end * size; at += size) {
        const T *row = x.as<const T>() + at, *other = added ? added.as<const T>() + at : nullptr;
        const auto s = [=](int64_t j) { return convert<double>(row[j]) + (other ? convert<double>(other[j]) : 0.0); };
        normalize(s, size, args.output().as<T>() + at);
      }
    });
    return {};
  });
}

}  // namespace tenon::ops
