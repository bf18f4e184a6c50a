#include "ops/support.h"

namespace tenon::ops {
namespace {

// y = cond ? a : b over the broadcast shape; truth(c) reads an element of cond.
template <class T, class C, class Truth>
void select(const C* cond, const T* a, const T* b, std::array<std::span<const int64_t>, 3> strides, std::span<const int64_t> shape, T* y,
            Truth truth) {
  for_each_row<3>(shape, strides, [&](const auto& at, const auto& step, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      *y++ = truth(cond[at[0] + i * step[0]]) ? a[at[1] + i * step[1]] : b[at[2] + i * step[2]];
    }
  });
}

std::optional<KnownDims> infer_known(const InferContext& c, const Shape& shape) {
  const auto cond = const_ints(c.known(0));
  const KnownDims *a = c.known(1), *b = c.known(2);
  std::optional<KnownDims> known = cond ? make_known(c.dtype(1), shape) : std::nullopt;
  if (!known) return std::nullopt;
  // A branch that is never taken need not be known.
  const bool takes_a = std::ranges::count(*cond, 0) < std::ssize(*cond), takes_b = std::ranges::count(*cond, 0) > 0;
  if ((takes_a && a == nullptr) || (takes_b && b == nullptr)) return std::nullopt;
  a = a ? a : b;
  b = b ? b : a;
  if (a == nullptr) return known;  // no elements at all
  const std::vector<int64_t>& to = known->shape;
  const auto sc = broadcast_strides(c.known(0)->shape, to);
  const auto sa = broadcast_strides(a->shape, to), sb = broadcast_strides(b->shape, to);
  select(cond->data(), a->values.data(), b->values.data(), {sc, sa, sb}, to, known->values.data(), [](int64_t v) { return v != 0; });
  return known;
}

Status infer(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kBool));
  TENON_TRY(check_same_dtype(c, 1));
  TENON_ASSIGN(Shape shape, c.broadcast(c.shape(1), c.shape(2)));
  TENON_ASSIGN(shape, c.broadcast(c.shape(0), shape));
  std::optional<KnownDims> known = infer_known(c, shape);
  return c.output(c.dtype(1), std::move(shape), std::move(known));
}

Status reference(const Attrs&, const RunArgs& args) {
  TENON_TRY(check_broadcast(args));
  const TensorArg cond = args.input(0), a = args.input(1), b = args.input(2), y = args.output();
  const auto sc = broadcast_strides(cond.shape, y.shape), sa = broadcast_strides(a.shape, y.shape), sb = broadcast_strides(b.shape, y.shape);
  visit_width(y.dtype, [&]<class T>() {
    select(cond.as<uint8_t>(), a.as<T>(), b.as<T>(), {sc, sa, sb}, y.shape, y.as<T>(), [](uint8_t v) { return v != 0; });
  });
  return {};
}

}  // namespace

OpDef define_where() {
  return {.summary = "y = cond ? a : b, broadcast together; cond bool, a and b of one type",
          .inputs = {{"cond"}, {"a"}, {"b"}},
          .locality = Locality::kElementwise,
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
