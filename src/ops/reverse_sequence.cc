#include <cstring>

#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 1, DTypes::kInteger));
  if (c.rank(0) < 2 || c.rank(1) != 1)
    return error(ErrorCode::kBadModel, "x of rank {}, lengths of rank {}", c.rank(0), c.rank(1));
  const int64_t time = c.attrs.integer("time_axis");
  if (time != 0 && time != 1) return error(ErrorCode::kBadModel, "time_axis {}, expected 0 or 1", time);
  TENON_TRY(c.same(c.shape(0)[static_cast<size_t>(1 - time)], c.shape(1)[0]).status());
  return c.output(c.dtype(0), c.shape(0));
}

Status reference(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), lengths = args.input(1), y = args.output();
  const bool time_first = attrs.integer("time_axis") == 0;
  const int64_t times = x.dim(time_first ? 0 : 1), batch = x.dim(time_first ? 1 : 0);
  const size_t block = static_cast<size_t>(product(x.shape, 2, x.rank())) * dtype_size(x.dtype);
  TENON_ASSIGN(const std::vector<int64_t> counts, read_ints(lengths));
  if (static_cast<int64_t>(counts.size()) != batch)
    return error(ErrorCode::kBadInput, "{} lengths for {} sequences", counts.size(), batch);
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t count = counts[static_cast<size_t>(b)];
    if (count < 0 || count > times)
      return error(ErrorCode::kBadInput, "length {} of sequence {} is not in [0, {}]", count, b, times);
    for (int64_t t = 0; t < times && block > 0; ++t) {
      const auto at = [&](int64_t time) {
        return static_cast<size_t>(time_first ? time * batch + b : b * times + time) * block;
      };
      std::memcpy(y.as<std::byte>() + at(t), x.as<std::byte>() + at(t < count ? count - 1 - t : t), block);
    }
  }
  return {};
}

}  // namespace

OpDef define_reverse_sequence() {
  return {.summary =
              "y = x with the first lengths[b] steps of sequence b backwards; x [time, batch, ...] or [batch, time, "
              "...], lengths [batch]",
          .inputs = {{"x"}, {"lengths"}},
          .attrs = {{"time_axis", int64_t{0}, false, "0 or 1; the other one is the batch"}},
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
