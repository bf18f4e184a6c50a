// What recent decoders are made of (opset 27 and later).
#include "onnx/ops.h"

namespace tenon::onnx {

// y = a sigmoid(alpha a) b
Status import_swiglu(Call& c) {
  Value *a = c.input(0), *gate = a;
  const double alpha = c.number("alpha", 1);
  if (alpha == 1) {
    TENON_ASSIGN(gate, c.emit(Op::k_silu, {a}));
  } else {
    TENON_ASSIGN(gate, c.with(Op::k_mul, a, alpha));
    TENON_ASSIGN(gate, c.emit(Op::k_sigmoid, {gate}));
    TENON_ASSIGN(gate, c.emit(Op::k_mul, {a, gate}));
  }
  return c.yield(Op::k_mul, {gate, c.input(1)});
}

// Each channel's filter over the present and, before it, the past columns (zeros where there is no past). Inputs: x [N, C, L],
// w [C, 1, K], bias?, past [N, C, K - 1]?. Outputs: y and the last K - 1 columns, the next call's past.
Status import_causal_conv(Call& c) {
  Value *x = c.input(0), *w = c.input(1), *past = c.input(3);
  if (x->rank() != 3 || w->rank() != 3 || !w->shape()[2].is_const() || !x->shape()[1].is_const())
    return error(ErrorCode::kUnsupported, "an input {} and weights {}", x->type().to_string(), w->type().to_string());
  const Dim width = w->shape()[2] - Dim(1);
  if (past == nullptr) {
    TENON_ASSIGN(past, c.expand(c.scalar(x->dtype(), 0), {x->shape()[0], x->shape()[1], width}));
  }
  TENON_ASSIGN(auto* all, c.emit(Op::k_concat, {past, x}, {{"axis", int64_t{2}}}));
  TENON_ASSIGN(auto* y, c.emit(Op::k_conv, {all, w, c.input(2)}, {{"group", x->shape()[1].value()}}));
  const std::string activation = c.text("activation", "none");
  if (activation == "silu" || activation == "swish") {
    TENON_ASSIGN(y, c.emit(Op::k_silu, {y}));
  } else if (activation != "none") {
    return error(ErrorCode::kUnsupported, "activation '{}'", activation);
  }
  const Dim columns = all->shape()[2];
  TENON_TRY(c.yield(c.slice(all, 2, columns - width, columns), 1));
  return c.yield(y);
}

}  // namespace tenon::onnx
