// y = f(x), element by element: the functions themselves are in ops/scalar_functions.h.
#include "ops/scalar_functions.h"
#include "ops/support.h"

namespace tenon::ops {
namespace {

Status infer_float(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  return c.output(c.dtype(0), c.shape(0));
}

// Maps known contents; f gives nothing where the result is not decided.
std::optional<KnownDims> map_known(const InferContext& c, std::optional<Dim> (*f)(const Dim&)) {
  std::optional<KnownDims> known = c.known(0) ? make_known(c.dtype(0), c.shape(0)) : std::nullopt;
  for (size_t i = 0; known && i < known->values.size(); ++i) {
    if (auto d = f(c.known(0)->values[i])) {
      known->values[i] = *std::move(d);
    } else {
      known.reset();
    }
  }
  return known;
}

template <std::optional<Dim> (*kKnown)(const Dim&)>
Status infer_number(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kNumber));
  return c.output(c.dtype(0), c.shape(0), map_known(c, kKnown));
}

template <class F>
Status apply_float(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const F f = fn::make<F>(attrs);
  const int64_t n = y.numel();
  return visit_float(x.dtype, [&]<class T>() -> Status {
    for (int64_t i = 0; i < n; ++i) y.as<T>()[i] = static_cast<T>(f(static_cast<Compute<T>>(x.as<T>()[i])));
    return {};
  });
}

template <class F>
Status apply_number(const Attrs& attrs, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const F f = fn::make<F>(attrs);
  const int64_t n = y.numel();
  return visit_number(x.dtype, [&]<class T>() -> Status {
    for (int64_t i = 0; i < n; ++i) y.as<T>()[i] = static_cast<T>(f(static_cast<Compute<T>>(x.as<T>()[i])));
    return {};
  });
}

template <class F>
OpDef float_function(std::string_view summary, std::vector<AttrDef> attrs = {}) {
  return {.summary = summary,
          .inputs = {{"x"}},
          .attrs = std::move(attrs),
          .locality = Locality::kElementwise,
          .infer = infer_float,
          .flops = flops_per_output,
          .reference = apply_float<F>};
}

template <class F, std::optional<Dim> (*kKnown)(const Dim&)>
OpDef number_function(std::string_view summary) {
  return {.summary = summary,
          .inputs = {{"x"}},
          .locality = Locality::kElementwise,
          .infer = infer_number<kKnown>,
          .flops = flops_per_output,
          .reference = apply_number<F>};
}

std::optional<Dim> known_neg(const Dim& d) { return -d; }
std::optional<Dim> known_abs(const Dim& d) { return Dim::max(d, -d); }
std::optional<Dim> known_sign(const Dim& d) {
  if (d == Dim(0)) return Dim(0);
  if (d.at_least(1)) return Dim(1);
  if ((-d).at_least(1)) return Dim(-1);
  return std::nullopt;
}
std::optional<Dim> known_relu(const Dim& d) { return Dim::max(d, 0); }
std::optional<Dim> known_not(const Dim& d) { return d.is_const() ? std::optional<Dim>(d == Dim(0) ? 1 : 0) : std::nullopt; }

Status infer_gelu(InferContext& c) {
  const std::string& form = c.attrs.text("approximate");
  if (form != "none" && form != "tanh" && form != "sigmoid") return error(ErrorCode::kBadModel, "unknown approximation \"{}\"", form);
  return infer_float(c);
}

Status infer_not(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kBool));
  return c.output(DType::kBool, c.shape(0), map_known(c, known_not));
}

Status reference_not(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  std::transform(x.as<uint8_t>(), x.as<uint8_t>() + y.numel(), y.as<uint8_t>(), [](uint8_t v) { return uint8_t{v == 0}; });
  return {};
}

Status infer_is_nan(InferContext& c) {
  TENON_TRY(check_dtype(c, 0, DTypes::kFloat));
  return c.output(DType::kBool, c.shape(0));
}

Status reference_is_nan(const Attrs&, const RunArgs& args) {
  const TensorArg x = args.input(0), y = args.output();
  const int64_t n = y.numel();
  return visit_float(x.dtype, [&]<class T>() -> Status {
    for (int64_t i = 0; i < n; ++i) y.as<uint8_t>()[i] = fn::IsNan()(static_cast<Compute<T>>(x.as<T>()[i]));
    return {};
  });
}

}  // namespace

OpDef define_neg() { return number_function<fn::Neg, known_neg>("y = -x"); }
OpDef define_abs() { return number_function<fn::Abs, known_abs>("y = |x|"); }
OpDef define_sign() { return number_function<fn::Sign, known_sign>("y = -1, 0 or 1, the sign of x"); }
OpDef define_relu() { return number_function<fn::Relu, known_relu>("y = max(x, 0)"); }

OpDef define_exp() { return float_function<fn::Exp>("y = e^x"); }
OpDef define_log() { return float_function<fn::Log>("y = ln x"); }
OpDef define_sqrt() { return float_function<fn::Sqrt>("y = sqrt(x)"); }
OpDef define_rsqrt() { return float_function<fn::Rsqrt>("y = 1 / sqrt(x)"); }
OpDef define_reciprocal() { return float_function<fn::Reciprocal>("y = 1 / x"); }
OpDef define_erf() { return float_function<fn::Erf>("y = erf(x)"); }
OpDef define_sin() { return float_function<fn::Sin>("y = sin(x)"); }
OpDef define_cos() { return float_function<fn::Cos>("y = cos(x)"); }
OpDef define_tan() { return float_function<fn::Tan>("y = tan(x)"); }
OpDef define_asin() { return float_function<fn::Asin>("y = asin(x)"); }
OpDef define_acos() { return float_function<fn::Acos>("y = acos(x)"); }
OpDef define_atan() { return float_function<fn::Atan>("y = atan(x)"); }
OpDef define_sinh() { return float_function<fn::Sinh>("y = sinh(x)"); }
OpDef define_cosh() { return float_function<fn::Cosh>("y = cosh(x)"); }
OpDef define_asinh() { return float_function<fn::Asinh>("y = asinh(x)"); }
OpDef define_acosh() { return float_function<fn::Acosh>("y = acosh(x)"); }
OpDef define_atanh() { return float_function<fn::Atanh>("y = atanh(x)"); }
OpDef define_tanh() { return float_function<fn::Tanh>("y = tanh(x)"); }
OpDef define_sigmoid() { return float_function<fn::Sigmoid>("y = 1 / (1 + e^-x)"); }
OpDef define_softplus() { return float_function<fn::Softplus>("y = ln(1 + e^x)"); }
OpDef define_silu() { return float_function<fn::Silu>("y = x sigmoid(x)"); }
OpDef define_floor() { return float_function<fn::Floor>("y = the greatest integer <= x"); }
OpDef define_ceil() { return float_function<fn::Ceil>("y = the least integer >= x"); }
OpDef define_round() { return float_function<fn::Round>("y = the integer nearest to x, halves to even"); }

OpDef define_leaky_relu() {
  return float_function<fn::LeakyRelu>("y = x where x >= 0, else alpha x", {{"alpha", 0.01, false, "slope of the negative side"}});
}

OpDef define_gelu() {
  OpDef def = float_function<fn::Gelu>(
      "y = x Phi(x), Phi(x) = (1 + erf(x / sqrt(2))) / 2 or an approximation",
      {{"approximate", std::string("none"), false,
        "none; tanh: x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2; sigmoid: x sigmoid(1.702 x)"}});
  def.infer = infer_gelu;
  return def;
}

OpDef define_not() {
  return {.summary = "y = not x, on bool",
          .inputs = {{"x"}},
          .locality = Locality::kElementwise,
          .infer = infer_not,
          .reference = reference_not};
}

OpDef define_is_nan() {
  return {.summary = "y = whether x is NaN, as bool",
          .inputs = {{"x"}},
          .locality = Locality::kElementwise,
          .infer = infer_is_nan,
          .reference = reference_is_nan};
}

}  // namespace tenon::ops
