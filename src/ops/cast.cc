#include "ops/support.h"

namespace tenon::ops {
namespace {

// A bool in memory may be any nonzero byte.
template <class T>
using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;

// The value of a known integer as another integer type; nothing where it might wrap.
std::optional<Dim> cast_known(const Dim& d, DType to) {
  if (to == DType::kBool) {
    if (d == Dim(0)) return Dim(0);
    if (d.is_const() || d.at_least(1) || (-d).at_least(1)) return Dim(1);
    return std::nullopt;
  }
  const bool wide = dtype_size(to) >= 4;
  if (!d.is_const()) return wide ? std::optional<Dim>(d) : std::nullopt;
  const bool fits = visit_dtype(to, [&]<class T>() { return convert<int64_t>(convert<T>(d.value())) == d.value(); });
  return fits && (d.value() >= 0 || to == DType::kI64 || to == DType::kI32 || to == DType::kI16 || to == DType::kI8)
             ? std::optional<Dim>(d)
             : std::nullopt;
}

Status infer(InferContext& c) {
  const DType to = c.attrs.dtype("to");
  std::optional<KnownDims> known = c.known(0) && !is_float(c.dtype(0)) ? make_known(to, c.shape(0)) : std::nullopt;
  for (size_t i = 0; known && i < known->values.size(); ++i) {
    if (const auto d = cast_known(c.known(0)->values[i], to)) {
      known->values[i] = *d;
    } else {
      known.reset();
    }
  }
  return c.output(to, c.shape(0), std::move(known));
}

Status reference(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t n = y.numel();
  visit_dtype(x.dtype, [&]<class From>() {
    visit_dtype(y.dtype, [&]<class To>() {
      const auto* from = x.as<Stored<From>>();
      auto* to = y.as<To>();
      for (int64_t i = 0; i < n; ++i) {
        if constexpr (std::is_same_v<From, bool>) {
          to[i] = convert<To>(static_cast<uint8_t>(from[i] != 0));
        } else {
          to[i] = convert<To>(from[i]);
        }
      }
    });
  });
  return {};
}

}  // namespace

OpDef define_cast() {
  return {.summary = "y = x as another type; floats truncate towards zero and clamp to integers, NaN gives 0, bool is x != 0",
          .inputs = {{"x"}},
          .attrs = {{"to", DType::kF32, true}},
          .locality = Locality::kElementwise,
          .infer = infer,
          .reference = reference};
}

}  // namespace tenon::ops
