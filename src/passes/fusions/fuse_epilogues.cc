// activation(linear(x))        ->  linear(x) {activation}
// add(linear(x), r)            ->  linear(x, residual = r)
// layer_norm(add(x, r))        ->  layer_norm(x, residual = r)     also rms_norm
//
// Why:      the product's rows are still in registers or cache; a pass over memory less each time.
// Order:    after fuse-qkv; residuals go into products first, what is left into the norms.
// Declines: the product has other readers; shapes broadcast.
#include "passes/passes.h"

namespace tenon::passes {
namespace {

std::string activation_of(const Node& node) {
  switch (node.op()) {
    case Op::k_relu: return "relu";
    case Op::k_tanh: return "tanh";
    case Op::k_sigmoid: return "sigmoid";
    case Op::k_silu: return "silu";
    case Op::k_gelu: {
      const std::string& kind = node.attrs().text("approximate");
      return kind == "none" ? "gelu" : "gelu_" + kind;
    }
    default: return "";
  }
}

Result<bool> absorb_activation(Rewriter& rw, Node& node) {
  const std::string activation = activation_of(node);
  if (activation.empty() || !node.input(0)->is(Op::k_linear)) return rw.no_match();
  if (!node.input(0)->has_one_use()) return rw.decline(node, "the product has other readers");
  Node& linear = *node.input(0)->producer();
  if (!linear.attrs().text("activation").empty() || linear.input(3) != nullptr) return rw.no_match();
  Attrs attrs = linear.attrs();
  attrs.set("activation", activation);
  TENON_ASSIGN(Value * fused, rw.create(Op::k_linear, {linear.input(0), linear.input(1), linear.input(2)}, attrs));
  rw.absorb_origin(fused->producer(), &linear);
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), activation);
}

Result<bool> absorb_residual(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_add) || node.input(0)->shape() != node.input(1)->shape()) return rw.no_match();
  for (int i : {0, 1}) {
    Value *product = node.input(i), *residual = node.input(1 - i);
    if (!product->is(Op::k_linear) || !product->has_one_use() || residual == product) continue;
    Node& linear = *product->producer();
    if (linear.input(3) != nullptr) continue;
    TENON_ASSIGN(Value * fused, rw.create(Op::k_linear, {linear.input(0), linear.input(1), linear.input(2), residual}, linear.attrs()));
    rw.absorb_origin(fused->producer(), &linear);
    rw.replace(node.output(), fused);
    return rw.changed(*fused->producer(), "residual");
  }
  return rw.no_match();
}

Result<bool> absorb_sum(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_layer_norm) && !node.is(Op::k_rms_norm)) return rw.no_match();
  const size_t residual = node.is(Op::k_layer_norm) ? 3 : 2;
  if (node.input(static_cast<int>(residual)) != nullptr || !node.input(0)->is(Op::k_add) || !node.input(0)->has_one_use()) return rw.no_match();
  const Node& sum = *node.input(0)->producer();
  if (sum.input(0)->shape() != sum.input(1)->shape()) return rw.decline(node, "the sum broadcasts");
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  inputs.resize(residual + 1);
  inputs[0] = sum.input(0);
  inputs[residual] = sum.input(1);
  TENON_ASSIGN(Value * fused, rw.create(node.op(), inputs, node.attrs()));
  rw.absorb_origin(fused->producer(), &sum);
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), "residual");
}

}  // namespace

Status fuse_linear_epilogue(Graph& graph, Decisions& decisions) {
  return apply_rules(graph, "fuse-linear-epilogue", {absorb_activation, absorb_residual}, decisions);
}

Status fuse_residual_norm(Graph& graph, Decisions& decisions) { return apply_rules(graph, "fuse-residual-norm", {absorb_sum}, decisions); }

}  // namespace tenon::passes
