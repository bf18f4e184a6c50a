// y = a ? b with numpy broadcasting, as bool: comparisons of one type, and logic on bool.
#include "ops/elementwise.h"

namespace tenon::ops {
namespace {

// ---- Comparisons -----------------------------------------------------------------------------------------------------

template <KnownFunction kKnown, bool kOrdered>
Status infer_comparison(InferContext& c) {
  TENON_TRY(check_same_dtype(c));
  if (kOrdered) TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  TENON_ASSIGN(Shape shape, c.broadcast(c.shape(0), c.shape(1)));
  std::optional<KnownDims> known = zip_known(c, DType::kBool, shape, kKnown);
  return c.output(DType::kBool, std::move(shape), std::move(known));
}

template <class F>
Status reference_comparison(const Attrs&, const RunArgs& args) {
  TENON_TRY(check_broadcast(args));
  if (args.input(0).dtype == DType::kBool) {
    zip<uint8_t, uint8_t>(args, [](uint8_t a, uint8_t b) { return F()(a != 0, b != 0); });
    return {};
  }
  return visit_number(args.input(0).dtype, [&]<class T>() -> Status {
    zip<T, uint8_t>(args, [](T a, T b) { return F()(static_cast<Compute<T>>(a), static_cast<Compute<T>>(b)); });
    return {};
  });
}

template <class F, KnownFunction kKnown, bool kOrdered = true>
OpDef comparison(std::string_view summary) {
  return {.summary = summary,
          .inputs = {{"a"}, {"b"}},
          .locality = Locality::kElementwise,
          .commutative = !kOrdered,
          .infer = infer_comparison<kKnown, kOrdered>,
          .flops = flops_per_output,
          .reference = reference_comparison<F>};
}

// Decided where both are constants, or where the sign of the difference is the same for all values of the symbols.
using Known = std::optional<Dim>;
Known known_less(const Attrs&, const Dim& a, const Dim& b) {
  if ((b - a).at_least(1)) return Dim(1);
  if ((a - b).at_least(0)) return Dim(0);
  return std::nullopt;
}
Known known_equal(const Attrs&, const Dim& a, const Dim& b) {
  if (a == b) return Dim(1);
  if ((a - b).at_least(1) || (b - a).at_least(1)) return Dim(0);
  return std::nullopt;
}
Known negated(const Known& d) { return d ? Known(Dim(1) - *d) : std::nullopt; }
Known known_greater(const Attrs& attrs, const Dim& a, const Dim& b) { return known_less(attrs, b, a); }
Known known_less_equal(const Attrs& attrs, const Dim& a, const Dim& b) { return negated(known_less(attrs, b, a)); }
Known known_greater_equal(const Attrs& attrs, const Dim& a, const Dim& b) { return negated(known_less(attrs, a, b)); }

// ---- Logic -----------------------------------------------------------------------------------------------------------

template <class F>
Known known_logic(const Attrs&, const Dim& a, const Dim& b) {
  if (!a.is_const() || !b.is_const()) return std::nullopt;
  return Dim(F()(a != Dim(0), b != Dim(0)) ? 1 : 0);
}

template <class F>
Status infer_logic(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kBool));
  TENON_TRY(check_dtype(c, 1, DTypes::kBool));
  TENON_ASSIGN(Shape shape, c.broadcast(c.shape(0), c.shape(1)));
  std::optional<KnownDims> known = zip_known(c, DType::kBool, shape, known_logic<F>);
  return c.output(DType::kBool, std::move(shape), std::move(known));
}

template <class F>
Status reference_logic(const Attrs&, const RunArgs& args) {
  TENON_TRY(check_broadcast(args));
  zip<uint8_t, uint8_t>(args, F());
  return {};
}

template <class F>
OpDef logic(std::string_view summary) {
  return {.summary = summary,
          .inputs = {{"a"}, {"b"}},
          .locality = Locality::kElementwise,
          .commutative = true,
          .infer = infer_logic<F>,
          .reference = reference_logic<F>};
}

}  // namespace

OpDef define_equal() { return comparison<fn::Equal, known_equal, false>("y = (a == b), as bool"); }
OpDef define_less() { return comparison<fn::Less, known_less>("y = (a < b), as bool"); }
OpDef define_less_equal() { return comparison<fn::LessEqual, known_less_equal>("y = (a <= b), as bool"); }
OpDef define_greater() { return comparison<fn::Greater, known_greater>("y = (a > b), as bool"); }
OpDef define_greater_equal() { return comparison<fn::GreaterEqual, known_greater_equal>("y = (a >= b), as bool"); }

OpDef define_and() { return logic<fn::And>("y = a and b, on bool"); }
OpDef define_or() { return logic<fn::Or>("y = a or b, on bool"); }
OpDef define_xor() { return logic<fn::Xor>("y = a or b but not both, on bool"); }

}  // namespace tenon::ops
