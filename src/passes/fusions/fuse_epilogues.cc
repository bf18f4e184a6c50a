// activation(linear(x))        ->  linear(x) {activation}
// add(linear(x), r)            ->  linear(x, residual = r)
// activation(conv(x))          ->  conv(x) {activation}             also after its residual {activate_sum}
// add(conv(x), r)              ->  conv(x, residual = r)
// layer_norm(add(x, r))        ->  layer_norm(x, residual = r)     also rms_norm
//
// Why:      the product's rows are still in registers or cache; a pass over memory less each time.
// Order:    after fuse-qkv; residuals go into products first, what is left into the norms. fold-into-conv takes away the batch
//           norms that stand between.
// Declines: the product has other readers; shapes broadcast.
#include <array>

#include "ops/activation.h"
#include "passes/activations.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

Result<bool> absorb_activation(Rewriter& rw, Node& node) {
  const Activated found = find_activation(node);
  if (found.x == nullptr || !found.x->is(Op::k_linear)) return rw.no_match();
  if (!ops::is_of_linear(*ops::parse_activation(found.name))) return rw.no_match();
  if (!found.x->has_one_use()) return rw.decline(node, "the product has other readers");
  Node& linear = *found.x->producer();
  if (!linear.attrs().text("activation").empty() || linear.input(3) != nullptr) return rw.no_match();
  Attrs attrs = linear.attrs();
  attrs.set("activation", found.name);
  TENON_ASSIGN(Value * fused, rw.create(Op::k_linear, {linear.input(0), linear.input(1), linear.input(2)}, attrs));
  rw.absorb_origin(fused->producer(), &linear);
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), found.name);
}

// `order`: which operand of the sum is looked at first.
Result<bool> absorb_residual(Rewriter& rw, Node& node, Op op, std::array<int, 2> order) {
  if (!node.is(Op::k_add) || node.input(0)->shape() != node.input(1)->shape()) return rw.no_match();
  for (const int i : order) {
    Value *product = node.input(i), *residual = node.input(1 - i);
    if (!product->is(op) || !product->has_one_use() || residual == product) continue;
    Node& producer = *product->producer();
    if (producer.input(3) != nullptr) continue;
    TENON_ASSIGN(Value * fused, rw.create(op, {producer.input(0), producer.input(1), producer.input(2), residual}, producer.attrs()));
    rw.absorb_origin(fused->producer(), &producer);
    rw.replace(node.output(), fused);
    return rw.changed(*fused->producer(), "residual");
  }
  return rw.no_match();
}

Result<bool> add_to_linear(Rewriter& rw, Node& node) { return absorb_residual(rw, node, Op::k_linear, {0, 1}); }

// Of two convolutions the later one: the other is there by then.
Result<bool> add_to_conv(Rewriter& rw, Node& node) { return absorb_residual(rw, node, Op::k_conv, {1, 0}); }

Result<bool> activate_conv(Rewriter& rw, Node& node) {
  const Activated found = find_activation(node);
  if (found.x == nullptr || !found.x->is(Op::k_conv)) return rw.no_match();
  Node& conv = *found.x->producer();
  if (!conv.attrs().text("activation").empty()) return rw.no_match();
  // The relu of a relu6 and the gate of a hard_swish are activations too.
  if (node.output()->has_one_use() && find_activation(*node.output()->uses()[0].node).x == found.x) return rw.no_match();
  if (found.x->uses().size() != found.readers || found.x->is_output()) return rw.decline(node, "the convolution has other readers");
  Attrs attrs = conv.attrs();
  attrs.set("activation", found.name);
  attrs.set("activate_sum", int64_t{conv.input(3) != nullptr});
  TENON_ASSIGN(Value * fused, rw.create(Op::k_conv, {conv.inputs().begin(), conv.inputs().end()}, attrs));
  rw.absorb_origin(fused->producer(), &conv);
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), found.name);
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
  return apply_rules(graph, "fuse-linear-epilogue", {absorb_activation, add_to_linear}, decisions);
}

Status fuse_conv_epilogue(Graph& graph, Decisions& decisions) {
  return apply_rules(graph, "fuse-conv-epilogue", {activate_conv, add_to_conv}, decisions);
}

Status fuse_residual_norm(Graph& graph, Decisions& decisions) { return apply_rules(graph, "fuse-residual-norm", {absorb_sum}, decisions); }

}  // namespace tenon::passes
