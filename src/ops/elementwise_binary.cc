// y = f(a, b) with numpy broadcasting, both of one numeric type: arithmetic.
#include "ops/elementwise.h"

namespace tenon::ops {

std::optional<KnownDims> zip_known(const InferContext& context, DType dtype, const Shape& shape, KnownFunction f) {
  const KnownDims *a = context.known(0), *b = context.known(1);
  std::optional<KnownDims> known = a && b ? make_known(dtype, shape) : std::nullopt;
  if (!known) return std::nullopt;
  const auto sa = broadcast_strides(a->shape, known->shape), sb = broadcast_strides(b->shape, known->shape);
  bool decided = true;
  zip(a->values.data(), b->values.data(), {sa, sb}, known->shape, known->values.data(), [&](const Dim& x, const Dim& y) {
    std::optional<Dim> d = decided ? f(context.attrs, x, y) : std::nullopt;
    decided = d.has_value();
    return decided ? *std::move(d) : Dim();
  });
  return decided ? known : std::nullopt;
}

namespace {

template <KnownFunction kKnown>
Status infer(InferContext& c) {
  TENON_TRY(check_same_dtype(c));
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  TENON_ASSIGN(Shape shape, c.broadcast(c.shape(0), c.shape(1)));
  std::optional<KnownDims> known = zip_known(c, c.dtype(0), shape, kKnown);
  return c.output(c.dtype(0), std::move(shape), std::move(known));
}

template <class F>
inline constexpr bool kDivides = std::is_same_v<F, fn::Div> || std::is_same_v<F, fn::Mod>;

template <class T>
Status refuse_zeros(const TensorArg& b) {
  const T* begin = b.as<T>();
  const T* end = begin + b.numel();
  const T* zero = std::find(begin, end, T{0});
  if (zero == end) return {};
  return error(ErrorCode::kBadInput, "division by zero: the divisor is 0 at {}", position_text(zero - begin, b.shape));
}

template <class F>
Status reference(const Attrs& attrs, const RunArgs& args) {
  TENON_TRY(check_broadcast(args));
  const F f = fn::make<F>(attrs);
  return visit_number(args.output().dtype, [&]<class T>() -> Status {
    if constexpr (kDivides<F> && std::is_integral_v<T>) TENON_TRY(refuse_zeros<T>(args.input(1)));
    using C = Compute<T>;
    zip<T, T>(args, [f](T a, T b) { return f(static_cast<C>(a), static_cast<C>(b)); });
    return {};
  });
}

template <class F, KnownFunction kKnown>
OpDef arithmetic(std::string_view summary, bool commutative) {
  return {.summary = summary,
          .inputs = {{"a"}, {"b"}},
          .locality = Locality::kElementwise,
          .commutative = commutative,
          .infer = infer<kKnown>,
          .flops = flops_per_output,
          .reference = reference<F>};
}

using Known = std::optional<Dim>;
Known known_add(const Attrs&, const Dim& a, const Dim& b) { return a + b; }
Known known_sub(const Attrs&, const Dim& a, const Dim& b) { return a - b; }
Known known_mul(const Attrs&, const Dim& a, const Dim& b) { return a * b; }
Known known_min(const Attrs&, const Dim& a, const Dim& b) { return Dim::min(a, b); }
Known known_max(const Attrs&, const Dim& a, const Dim& b) { return Dim::max(a, b); }

Known known_div(const Attrs&, const Dim& a, const Dim& b) {
  if (b == Dim(0)) return std::nullopt;
  if (a.is_const() && b.is_const()) return Dim(a.value() / b.value());
  if (auto exact = a.exact_div(b)) return exact;
  // Truncation is rounding down only where neither is negative.
  if (a.at_least(0) && b.at_least(1)) return Dim::floordiv(a, b);
  return std::nullopt;
}

Known known_mod(const Attrs& attrs, const Dim& a, const Dim& b) {
  if (b == Dim(0)) return std::nullopt;
  const bool fmod = attrs.integer("fmod") != 0;
  if (a.is_const() && b.is_const() && fmod) return Dim(a.value() % b.value());
  if (fmod && !(a.at_least(0) && b.at_least(1))) return std::nullopt;
  return Dim::mod(a, b);
}

Known known_pow(const Attrs&, const Dim& a, const Dim& b) {
  if (!b.is_const() || b.value() < 0 || b.value() > 8) return std::nullopt;
  Dim power(1);
  for (int64_t i = 0; i < b.value(); ++i) power = power * a;
  return power;
}

}  // namespace

OpDef define_add() { return arithmetic<fn::Add, known_add>("y = a + b", true); }
OpDef define_sub() { return arithmetic<fn::Sub, known_sub>("y = a - b", false); }
OpDef define_mul() { return arithmetic<fn::Mul, known_mul>("y = a b", true); }
OpDef define_div() { return arithmetic<fn::Div, known_div>("y = a / b; integers truncate, and refuse a divisor of 0", false); }
OpDef define_pow() { return arithmetic<fn::Pow, known_pow>("y = a^b", false); }
OpDef define_min() { return arithmetic<fn::Min, known_min>("y = min(a, b); NaN if either is", true); }
OpDef define_max() { return arithmetic<fn::Max, known_max>("y = max(a, b); NaN if either is", true); }

OpDef define_mod() {
  OpDef def = arithmetic<fn::Mod, known_mod>("y = a mod b, of the sign of b (fmod = 0) or of a (fmod = 1); integers refuse a divisor of 0", false);
  def.attrs = {{"fmod", int64_t{0}, false, "1: as C's fmod, 0: as Python's %"}};
  return def;
}

}  // namespace tenon::ops
