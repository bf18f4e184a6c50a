// matmul(x, w: a constant [k, n])   ->  linear(x, w)
// add(linear(x, w), b: [n])         ->  linear(x, w, b)
//
// Why:      a product with a weight is packed once and gets an epilogue; a product of two activations does not.
// Declines: the weight is not a matrix.
#include "ops/interpret.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

Result<bool> match_product(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_matmul)) return rw.no_match();
  Value *x = node.input(0), *w = node.input(1);
  if (!is_float(x->dtype()) || x->rank() < 2 || w->rank() != 2 || !ops::is_constant_expression(*w) ||
      ops::is_constant_expression(*x))
    return rw.no_match();
  TENON_ASSIGN(Value * linear, rw.create(Op::k_linear, {x, w}));
  rw.replace(node.output(), linear);
  return true;
}

Result<bool> absorb_bias(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_add)) return rw.no_match();
  for (int i : {0, 1}) {
    Value *product = node.input(i), *bias = node.input(1 - i);
    if (!product->is(Op::k_linear) || !product->has_one_use() || product->shape() != node.output()->shape()) continue;
    Node& linear = *product->producer();
    if (linear.input(2) != nullptr || linear.input(3) != nullptr || !linear.attrs().text("activation").empty()) continue;
    if (bias->rank() != 1 || bias->shape()[0] != product->shape().back() || !ops::is_constant_expression(*bias)) continue;
    TENON_ASSIGN(Value * fused, rw.create(Op::k_linear, {linear.input(0), linear.input(1), bias}, linear.attrs()));
    rw.absorb_origin(fused->producer(), &linear);
    rw.replace(node.output(), fused);
    return rw.changed(*fused->producer(), "bias");
  }
  return rw.no_match();
}

}  // namespace

Status fuse_linear(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-linear", {match_product, absorb_bias}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
