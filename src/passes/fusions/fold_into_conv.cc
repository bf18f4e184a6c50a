// conv(x, w, b) s              ->  conv(x, s w, s b)        s and t: constants with a number for each channel;
// conv(x, w, b) + t            ->  conv(x, w, b + t)        a batch normalisation is both
// conv(pad(x, zeros), w, b)    ->  conv(x, w, b) {pads}
//
// Why:      each is a pass over the image less; the new weights are constant expressions, evaluated once when packed.
// Order:    before fuse-conv-epilogue, which looks at what reads the convolution.
// Declines: the convolution has other readers.
#include "ops/interpret.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

bool is_plain_conv(const Value* v) {
  return v->is(Op::k_conv) && v->producer()->attrs().text("activation").empty() && v->producer()->input(3) == nullptr;
}

// Whether v is a constant with one number for each channel of y [N, C, spatial…].
bool is_per_channel(const Value* v, const Value* y) {
  const int axis = v->rank() - y->rank() + 1;
  const Dim& channels = y->shape()[1];
  return axis >= 0 && axis <= 1 && channels.is_const() && v->shape()[static_cast<size_t>(axis)] == channels &&
         ir::numel(v->shape()) == channels && ops::is_constant_expression(*v);
}

// Puts what the constant operand of `node` says about channels into the convolution that is its other operand.
// make(conv, constant [C]) gives the new weight and bias.
template <class F>
Result<bool> fold_operand(Rewriter& rw, Node& node, const std::string& what, F make) {
  for (const int i : {0, 1}) {
    Value *y = node.input(i), *constant = node.input(1 - i);
    if (!is_plain_conv(y) || !is_per_channel(constant, y)) continue;
    if (!y->has_one_use()) return rw.decline(node, "the convolution has other readers");
    Node& conv = *y->producer();
    TENON_ASSIGN(constant, rw.create(Op::k_reshape, {constant}, {{"shape", Shape{y->shape()[1]}}}));
    TENON_ASSIGN(const auto made, make(conv, constant));
    TENON_ASSIGN(Value * folded, rw.create(Op::k_conv, {conv.input(0), made.first, made.second}, conv.attrs()));
    rw.absorb_origin(folded->producer(), &conv);
    rw.replace(node.output(), folded);
    return rw.changed(*folded->producer(), what);
  }
  return rw.no_match();
}

using WeightAndBias = std::pair<Value*, Value*>;

Result<bool> scale_conv(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_mul)) return rw.no_match();
  return fold_operand(rw, node, "scale of channels", [&](const Node& conv, Value* scale) -> Result<WeightAndBias> {
    Shape column(static_cast<size_t>(conv.input(1)->rank()), Dim(1));
    column[0] = scale->shape()[0];
    TENON_ASSIGN(Value * factor, rw.create(Op::k_reshape, {scale}, {{"shape", std::move(column)}}));
    TENON_ASSIGN(Value * weight, rw.create(Op::k_mul, {conv.input(1), factor}));
    Value* bias = conv.input(2);
    if (bias != nullptr) {
      TENON_ASSIGN(bias, rw.create(Op::k_mul, {bias, scale}));
    }
    return WeightAndBias{weight, bias};
  });
}

Result<bool> shift_conv(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_add)) return rw.no_match();
  return fold_operand(rw, node, "shift of channels", [&](const Node& conv, Value* shift) -> Result<WeightAndBias> {
    if (conv.input(2) != nullptr) {
      TENON_ASSIGN(shift, rw.create(Op::k_add, {conv.input(2), shift}));
    }
    return WeightAndBias{conv.input(1), shift};
  });
}

Result<bool> pad_conv(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_conv) || !node.input(0)->is(Op::k_pad)) return rw.no_match();
  const Node& pad = *node.input(0)->producer();
  if (pad.attrs().text("mode") != "constant" || pad.attrs().number("value") != 0)
    return rw.decline(node, "what pads its input is not zero");
  const Shape &before = pad.attrs().shape("before"), &after = pad.attrs().shape("after");
  const size_t axes = before.size() - 2;
  Attrs attrs = node.attrs();
  Shape pads = attrs.shape("pads");
  pads.resize(2 * axes, Dim(0));
  for (size_t i = 0; i < before.size(); ++i) {
    const bool adds = before[i].at_least(0) && after[i].at_least(0);
    if (!adds || (i < 2 && (before[i] != Dim(0) || after[i] != Dim(0))))
      return rw.decline(node, "its input is cropped, or padded with channels");
    if (i < 2) continue;
    pads[i - 2] = pads[i - 2] + before[i];
    pads[i - 2 + axes] = pads[i - 2 + axes] + after[i];
  }
  attrs.set("pads", std::move(pads));
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  inputs[0] = pad.input(0);
  TENON_ASSIGN(Value * fused, rw.create(Op::k_conv, inputs, attrs));
  rw.absorb_origin(fused->producer(), &pad);
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), "padding");
}

}  // namespace

Status fold_into_conv(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fold-into-conv", {scale_conv, shift_conv, pad_conv}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
