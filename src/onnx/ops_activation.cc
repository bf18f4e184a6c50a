// Activations; those without an IR op of their own are written out.
#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

// alpha (exp(min(x, 0) / scale) - 1), the negative branch of the exponential units.
Result<Value*> negative_branch(Call& c, Value* x, double alpha, double scale) {
  TENON_ASSIGN(auto* t, c.with(Op::k_min, x, 0));
  if (scale != 1) {
    TENON_ASSIGN(t, c.with(Op::k_div, t, scale));
  }
  TENON_ASSIGN(t, c.emit(Op::k_exp, {t}));
  TENON_ASSIGN(t, c.with(Op::k_sub, t, 1));
  return c.with(Op::k_mul, t, alpha);
}

// min(max(alpha x + beta, 0), 1)
Result<Value*> hard_sigmoid(Call& c, Value* x, double alpha, double beta) {
  TENON_ASSIGN(auto* t, c.with(Op::k_mul, x, alpha));
  TENON_ASSIGN(t, c.with(Op::k_add, t, beta));
  TENON_ASSIGN(t, c.emit(Op::k_relu, {t}));
  return c.with(Op::k_min, t, 1);
}

}  // namespace

Status import_leaky_relu(Call& c) {
  return c.yield(Op::k_leaky_relu, {c.input(0)}, {{"alpha", c.number("alpha", 0.01)}});
}

// y = max(x, 0) + slope min(x, 0)
Status import_prelu(Call& c) {
  Value* x = c.input(0);
  TENON_ASSIGN(auto* positive, c.with(Op::k_max, x, 0));
  TENON_ASSIGN(auto* negative, c.with(Op::k_min, x, 0));
  TENON_ASSIGN(negative, c.emit(Op::k_mul, {negative, c.input(1)}));
  return c.yield(Op::k_add, {positive, negative});
}

Status import_elu(Call& c) {
  TENON_ASSIGN(auto* positive, c.emit(Op::k_relu, {c.input(0)}));
  TENON_ASSIGN(auto* negative, negative_branch(c, c.input(0), c.number("alpha", 1), 1));
  return c.yield(Op::k_add, {positive, negative});
}

Status import_selu(Call& c) {
  TENON_ASSIGN(auto* positive, c.emit(Op::k_relu, {c.input(0)}));
  TENON_ASSIGN(auto* negative, negative_branch(c, c.input(0), c.number("alpha", 1.67326319217681884765625), 1));
  TENON_ASSIGN(auto* sum, c.emit(Op::k_add, {positive, negative}));
  return c.yield(c.with(Op::k_mul, sum, c.number("gamma", 1.05070102214813232421875)));
}

Status import_celu(Call& c) {
  const double alpha = c.number("alpha", 1);
  TENON_ASSIGN(auto* positive, c.emit(Op::k_relu, {c.input(0)}));
  TENON_ASSIGN(auto* negative, negative_branch(c, c.input(0), alpha, alpha));
  return c.yield(Op::k_add, {positive, negative});
}

Status import_thresholded_relu(Call& c) {
  Value* x = c.input(0);
  TENON_ASSIGN(auto* above, c.with(Op::k_greater, x, c.number("alpha", 1)));
  return c.yield(Op::k_where, {above, x, c.scalar(x->dtype(), 0)});
}

// x + bias below -lambd, x - bias above lambd, 0 between.
Status import_shrink(Call& c) {
  Value* x = c.input(0);
  const double bias = c.number("bias", 0), lambd = c.number("lambd", 0.5);
  const DType dtype = x->dtype();
  if (!is_float(dtype)) {
    TENON_ASSIGN(x, c.cast(x, DType::kF32));
  }
  TENON_ASSIGN(auto* below, c.with(Op::k_less, x, -lambd));
  TENON_ASSIGN(auto* above, c.with(Op::k_greater, x, lambd));
  TENON_ASSIGN(auto* raised, c.with(Op::k_add, x, bias));
  TENON_ASSIGN(auto* lowered, c.with(Op::k_sub, x, bias));
  TENON_ASSIGN(auto* y, c.emit(Op::k_where, {above, lowered, c.scalar(x->dtype(), 0)}));
  TENON_ASSIGN(y, c.emit(Op::k_where, {below, raised, y}));
  return c.yield(c.cast(y, dtype));
}

Status import_softsign(Call& c) {
  TENON_ASSIGN(auto* t, c.emit(Op::k_abs, {c.input(0)}));
  TENON_ASSIGN(t, c.with(Op::k_add, t, 1));
  return c.yield(Op::k_div, {c.input(0), t});
}

Status import_mish(Call& c) {
  TENON_ASSIGN(auto* t, c.emit(Op::k_softplus, {c.input(0)}));
  TENON_ASSIGN(t, c.emit(Op::k_tanh, {t}));
  return c.yield(Op::k_mul, {c.input(0), t});
}

Status import_hard_sigmoid(Call& c) {
  return c.yield(hard_sigmoid(c, c.input(0), c.number("alpha", 0.2), c.number("beta", 0.5)));
}

Status import_hard_swish(Call& c) {
  TENON_ASSIGN(auto* gate, hard_sigmoid(c, c.input(0), 1.0 / 6, 0.5));
  return c.yield(Op::k_mul, {c.input(0), gate});
}

Status import_gelu(Call& c) {
  const std::string approximate = c.text("approximate", "none");
  if (approximate != "none" && approximate != "tanh")
    return error(ErrorCode::kUnsupported, "approximate '{}'", approximate);
  return c.yield(Op::k_gelu, {c.input(0)}, {{"approximate", approximate}});
}

// y = x sigmoid(alpha x)
Status import_swish(Call& c) {
  Value* x = c.input(0);
  const double alpha = c.number("alpha", 1);
  if (alpha == 1) return c.yield(Op::k_silu, {x});
  TENON_ASSIGN(auto* t, c.with(Op::k_mul, x, alpha));
  TENON_ASSIGN(t, c.emit(Op::k_sigmoid, {t}));
  return c.yield(Op::k_mul, {x, t});
}

}  // namespace tenon::onnx
