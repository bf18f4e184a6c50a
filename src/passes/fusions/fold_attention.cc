// Exact rewrites of the projections around attention; all new weights are constant expressions, evaluated once when packed.
//
//   attention(x Wq + bq, k, v) {scale = s}        ->  attention(x (s Wq) + s bq, k, v) {scale = 1}
//   attention(q, x Wk + bk, v)                    ->  attention(q, x Wk, v)         q.bk is the same for every key: softmax drops it
//   attention(q, k, x Wv + bv) Wo + bo            ->  attention(q, k, x Wv) Wo + (bo + bv Wo)      rows of the softmax sum to 1
//   attention(q, k, v, bias = expand(b))          ->  attention(q, k, v, bias = b)          it reads b for every text and head itself
//   attention(q, k, v, bias = -inf after the query)  ->  attention(q, k, v) {causal}            also windows; a padding mask is
//                                                                                             read by pack-tokens instead;
//                                                                                             one that hides nothing goes
//   layer_norm(x, g, b) W + c, no other reader    ->  layer_norm(x) (diag(g) W) + (c + b W)
//
// Order:    before fuse-qkv, which merges the three products.
// Declines: a projection has other readers, or is not a linear.
#include "passes/padding_proof.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

// The linear that makes operand `i` of an attention and nothing else, without activation or residual; null otherwise.
Node* own_projection(const Node& attention, int i) {
  Value* v = attention.input(i);
  if (!v->is(Op::k_linear) || !v->has_one_use()) return nullptr;
  Node* linear = v->producer();
  const bool plain = linear->attrs().text("activation").empty() && linear->input(3) == nullptr;
  return plain && attention.attrs().integers("columns")[static_cast<size_t>(i)] == 0 ? linear : nullptr;
}

Result<bool> fold_scale(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_attention) || node.attrs().number("scale") == 1) return rw.no_match();
  const Node* q = own_projection(node, 0);
  if (q == nullptr) return rw.decline(node, "queries are not a projection of their own");
  rw.set_anchor(node.input(0)->producer());
  Value* scale = rw.constant(Tensor::scalar(DType::kF32, node.attrs().number("scale")));
  TENON_ASSIGN(Value * weight, rw.create(Op::k_mul, {q->input(1), scale}));
  Value* bias = q->input(2);
  if (bias != nullptr) {
    TENON_ASSIGN(bias, rw.create(Op::k_mul, {bias, scale}));
  }
  TENON_ASSIGN(Value * scaled, rw.create(Op::k_linear, {q->input(0), weight, bias}, q->attrs()));
  node.attrs().set("scale", 1.0);
  rw.replace_changed(node.input(0), scaled);
  return rw.changed(node, "scale into the query projection");
}

Result<bool> drop_key_bias(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_attention)) return rw.no_match();
  const Node* k = own_projection(node, 1);
  if (k == nullptr || k->input(2) == nullptr) return rw.no_match();
  rw.set_anchor(node.input(1)->producer());
  TENON_ASSIGN(Value * unbiased, rw.create(Op::k_linear, {k->input(0), k->input(1)}, k->attrs()));
  rw.replace_changed(node.input(1), unbiased);
  return rw.changed(node, "key bias cancels");
}

Result<bool> drop_expansion(Rewriter& rw, Node& node) {
  constexpr int kScoreBias = 8, kScoreAxes = 4;
  if (!node.is(Op::k_attention) || node.input(kScoreBias) == nullptr || !node.input(kScoreBias)->is(Op::k_expand)) return rw.no_match();
  Value* bias = node.input(kScoreBias)->producer()->input(0);
  if (bias->rank() < kScoreAxes) {
    Shape shape(static_cast<size_t>(kScoreAxes - bias->rank()), Dim(1));
    shape.insert(shape.end(), bias->shape().begin(), bias->shape().end());
    TENON_ASSIGN(bias, rw.create(Op::k_reshape, {bias}, {{"shape", shape}}));
  }
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  inputs[kScoreBias] = bias;
  TENON_ASSIGN(Value * fused, rw.create(Op::k_attention, inputs, node.attrs()));
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), "a bias of scores is read as it was before it was expanded");
}

// c + v W as a constant expression: v [n], W [n, m], c [m] or null.
Result<Value*> shifted_bias(Rewriter& rw, Value* v, Value* weight, Value* c) {
  TENON_ASSIGN(Value * shift, rw.create(Op::k_matmul, {v, weight}));
  if (c == nullptr) return shift;
  return rw.create(Op::k_add, {c, shift});
}

Result<bool> move_value_bias(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_attention) || !node.output()->has_one_use()) return rw.no_match();
  const Node* v = own_projection(node, 2);
  if (v == nullptr || v->input(2) == nullptr) return rw.no_match();
  if (node.attrs().integer("kv_heads") != 0) return rw.decline(node, "heads share values");
  const ir::Use use = node.output()->uses()[0];
  if (!use.node->is(Op::k_linear) || use.input != 0) return rw.decline(node, "its rows do not go to one linear");
  Node& out = *use.node;
  rw.set_anchor(node.input(2)->producer());
  Value* bias = v->input(2);
  TENON_ASSIGN(Value * unbiased, rw.create(Op::k_linear, {v->input(0), v->input(1)}, v->attrs()));
  rw.set_anchor(&out);
  TENON_ASSIGN(Value * shifted, shifted_bias(rw, bias, out.input(1), out.input(2)));
  TENON_ASSIGN(Value * rows, rw.create(Op::k_linear, {out.input(0), out.input(1), shifted, out.input(3)}, out.attrs()));
  rw.replace(out.output(), rows);
  rw.replace_changed(node.input(2), unbiased);
  // The rows between the two no longer hold what the model's did under this name.
  node.output()->set_name(rw.graph().unique_name(node.output()->name() + ".unbiased"));
  return rw.changed(node, "value bias behind the attention");
}

Result<bool> fold_mask(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_attention) || node.input(8) == nullptr) return rw.no_match();
  const std::vector<Value*> summands = summands_of(node.input(8));
  Value* rest = nullptr;
  Attrs attrs = node.attrs();
  bool found = false;
  for (Value* v : summands) {
    std::string reason;
    const auto mask = depends_on_shapes_only(v) ? prove_padding_mask(v, reason) : std::nullopt;
    if (!mask) {
      if (rest != nullptr) {
        TENON_ASSIGN(v, rw.create(Op::k_add, {rest, v}));
      }
      rest = v;
      continue;
    }
    found = true;
    if (mask->causal) attrs.set("causal", int64_t{1});
    const int64_t window = attrs.integer("window");
    if (mask->window > 0) attrs.set("window", window > 0 ? std::min(window, mask->window) : mask->window);
  }
  if (!found) return rw.no_match();
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().begin() + 8);
  inputs.push_back(rest);
  TENON_ASSIGN(Value * fused, rw.create(Op::k_attention, inputs, attrs));
  rw.replace(node.output(), fused);
  const bool hides = attrs.integer("causal") != 0 || attrs.integer("window") > 0;
  return rw.changed(*fused->producer(), hides ? fmt::format("causal {}, window {}", attrs.integer("causal"), attrs.integer("window"))
                                              : std::string("a mask that hides nothing"));
}

Result<bool> fold_norm(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_linear) || !node.input(0)->is(Op::k_layer_norm) || !node.input(0)->has_one_use()) return rw.no_match();
  Node& norm = *node.input(0)->producer();
  if (norm.input(1) == nullptr || norm.input(1)->rank() != 1) return rw.no_match();
  if (!node.attrs().text("factors").empty()) return rw.decline(node, "its weight was rounded to 8 bits");
  // A weight that is read elsewhere too (tied embeddings) would have to be stored twice.
  Value* source = node.input(1);
  while (source->is(Op::k_transpose) && source->has_one_use()) source = source->producer()->input(0);
  if (!source->has_one_use()) return rw.decline(node, "its weight is shared");
  Value *gamma = norm.input(1), *beta = norm.input(2);
  TENON_ASSIGN(Value * column, rw.create(Op::k_reshape, {gamma}, {{"shape", Shape{gamma->shape()[0], Dim(1)}}}));
  TENON_ASSIGN(Value * weight, rw.create(Op::k_mul, {node.input(1), column}));
  Value* bias = node.input(2);
  if (beta != nullptr) {
    TENON_ASSIGN(bias, shifted_bias(rw, beta, node.input(1), bias));
  }
  TENON_ASSIGN(Value * plain, rw.create(Op::k_layer_norm, {norm.input(0), nullptr, nullptr, norm.input(3)}, norm.attrs()));
  rw.absorb_origin(plain->producer(), &norm);
  TENON_ASSIGN(Value * fused, rw.create(Op::k_linear, {plain, weight, bias, node.input(3)}, node.attrs()));
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), "scale and shift of the norm");
}

}  // namespace

Status fold_attention_scale(Graph& graph, Decisions& decisions) { return apply_rules(graph, "fold-attention-scale", {fold_scale}, decisions); }

Status fold_attention_bias(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fold-attention-bias", {drop_key_bias, move_value_bias, drop_expansion}, decisions));
  return eliminate_dead_code(graph, decisions);
}

Status fold_attention_mask(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fold-attention-mask", {fold_mask}, decisions));
  return eliminate_dead_code(graph, decisions);
}

Status fold_norm_into_linear(Graph& graph, Decisions& decisions) { return apply_rules(graph, "fold-norm-into-linear", {fold_norm}, decisions); }

}  // namespace tenon::passes
