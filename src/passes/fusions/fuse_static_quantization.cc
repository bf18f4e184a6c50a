// Products of statically quantised models (QuantizeLinear, DequantizeLinear, QLinearMatMul, QLinearConv; in f32 by integers-to-floats) as
// products that round for themselves, by the model's own steps:
//
//   r = step (clamp(round(x / step) + zero) - zero)
//   linear(r, w)                 ->   linear(x, w) {factors = "int8", x_step = step, x_zero = zero}
//   conv(r, w)                   ->   conv(x, w) {…}
//   linear(r / step, w)          ->   linear(x, w / step) {…}; conv too
//
// with constants w, step and zero: w of 8 bits, a scale for all or for each column (filter).
//
// Why:      sums of integers are several times as fast as of f32, and x need not be rounded in a pass of its own.
// Declines: weights that are not of 8 bits.
#include <vector>

#include "ir/pattern.h"
#include "ops/interpret.h"
#include "ops/quantize.h"
#include "passes/passes.h"
#include "passes/rounding.h"

namespace tenon::passes {
namespace {

using namespace ir::pattern;

// Whether all columns of W [K, N], or all filters of it [F, …], are of 8 bits.
Result<bool> has_8_bits(const Value& w, bool of_columns) {
  if (!ops::is_constant_expression(w) || !ir::all_const(w.shape()) || w.dtype() != DType::kF32) return false;
  TENON_ASSIGN(const Tensor tensor, ops::evaluate_constant(w));
  const int64_t count = tensor.shape()[of_columns ? 1 : 0], k = count == 0 ? 0 : tensor.numel() / count;
  std::vector<float> column(static_cast<size_t>(k));
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t i = 0; i < k; ++i) column[static_cast<size_t>(i)] = tensor.as<float>()[of_columns ? i * count + j : j * k + i];
    if (!ops::has_8_bits(column.data(), k)) return false;
  }
  return true;
}

Result<bool> match_rounded_rows(Rewriter& rw, Node& node) {
  if ((!node.is(Op::k_linear) && !node.is(Op::k_conv)) || !node.attrs().text("factors").empty()) return rw.no_match();
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  Value *&x = inputs[0], *&w = inputs[1];
  auto rounding = rounding_to_8_bits(x);
  const bool of_integers = !rounding.has_value();
  if (of_integers) rounding = integers_of_8_bits(x);
  if (!rounding) return rw.no_match();
  TENON_ASSIGN(const bool narrow, has_8_bits(*w, node.is(Op::k_linear)));
  if (!narrow) return rw.decline(node, "its weights are not of 8 bits");
  if (of_integers) {
    Value* step = rw.constant(Tensor::scalar(DType::kF32, rounding->step));
    TENON_ASSIGN(w, rw.create(Op::k_div, {w, step}));
    if (rounding->moved) {
      TENON_ASSIGN(x, rw.create(Op::k_mul, {x, step}));
    }
  }
  if (!rounding->moved) x = rounding->x;  // else it is rounded twice, which changes nothing
  ir::Attrs attrs = node.attrs();
  attrs.set("factors", std::string("int8"));
  attrs.set("x_step", rounding->step);
  attrs.set("x_zero", rounding->zero);
  TENON_ASSIGN(Value * product, rw.create(node.op(), inputs, attrs));
  rw.replace(node.output(), product);
  return rw.changed(*product->producer(), "rounds x for itself");
}

}  // namespace

Status fuse_static_quantization(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-static-quantization", {match_rounded_rows}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
