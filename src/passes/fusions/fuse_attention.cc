//   q rows -> heads --.
//   k rows -> heads --+-- matmul -- scale, mask -- softmax --.
//   v rows -> heads ----------------------------------------+-- matmul -- heads -> rows      =>   attention(q, k, v, bias)
//
// The score chain between the products may hold, in any order: products with scalars, sums with masks, where(hidden, -big, s),
// and views that only regroup [batch * heads]. How heads are split and merged does not matter (passes/views.h).
//
// Why:      scores of [batch, heads, seq, seq] are never stored, and masks become bounds.
// Order:    after fuse-linear and simplify-layout, so that rows are products; before pack-tokens, which needs whole attentions.
// Declines: the softmax is not over keys; a mask is not broadcastable to [batch, heads, query, key]; operands are not heads of
//           rows.
#include <cmath>

#include "ir/pattern.h"
#include "passes/passes.h"
#include "passes/views.h"

namespace tenon::passes {
namespace {

using namespace ir::pattern;

// A value this low hides a key: exp(kHidden - max) is 0 in float for scores of any real model.
constexpr double kHidden = -1e3;

// What stands between the first product and the softmax.
struct Scores {
  Node* product = nullptr;     // matmul(q, k^T)
  double scale = 1;
  struct Mask {
    Value* value;              // added to the scores, or the condition of a where
    double factor = 1;         // scores were scaled by this after the mask was added
    bool is_condition = false;
    bool hidden_when = true;   // of a condition
    double fill = 0;
  };
  std::vector<Mask> masks;
};

// True when a matmul of two activations is found along the chain of score operations above v.
bool leads_to_product(Value* v, int depth = 0) {
  const Node* node = v->producer();
  if (node == nullptr || depth > 16) return false;
  switch (node->op()) {
    case Op::k_matmul: return true;
    case Op::k_add:
    case Op::k_mul:
    case Op::k_max: return leads_to_product(node->input(0), depth + 1) || leads_to_product(node->input(1), depth + 1);
    case Op::k_where: return leads_to_product(node->input(1), depth + 1) || leads_to_product(node->input(2), depth + 1);
    case Op::k_div:
    case Op::k_sub:
    case Op::k_reshape: return leads_to_product(node->input(0), depth + 1);
    default: return false;
  }
}

// Reads the chain from the softmax's input up to the product of queries and keys. The reason when it is something else.
std::optional<Scores> read_scores(Value* v, std::string& reason) {
  Scores scores;
  double outer = 1;  // scalar factors between here and the softmax
  while (!v->is(Op::k_matmul)) {
    Node* node = v->producer();
    if (node == nullptr) return std::nullopt;
    double c = 0;
    Value* x = nullptr;
    if (matches(v, op(Op::k_mul, {any(x), scalar(c)}))) {
      outer *= c;
      v = x;
    } else if (node->is(Op::k_div) && scalar(c)(node->input(1)) && c != 0) {
      outer /= c;
      v = node->input(0);
    } else if (node->is(Op::k_add) || (node->is(Op::k_sub) && leads_to_product(node->input(0)))) {
      const int chain = leads_to_product(node->input(0)) ? 0 : 1;
      if (!leads_to_product(node->input(chain))) return std::nullopt;
      scores.masks.push_back({node->input(1 - chain), node->is(Op::k_sub) ? -outer : outer});
      v = node->input(chain);
    } else if (node->is(Op::k_where)) {
      const int chain = leads_to_product(node->input(1)) ? 1 : 2;
      if (!leads_to_product(node->input(chain)) || !scalar(c)(node->input(3 - chain)) || c > kHidden) {
        reason = "a where in the scores does not hide keys";
        return std::nullopt;
      }
      scores.masks.push_back({node->input(0), outer, true, chain == 2, c});
      v = node->input(chain);
    } else if (node->is(Op::k_max) && scalar(c)(node->input(1)) && c < kHidden) {
      v = node->input(0);  // a clamp at the lowest float: hides nothing that counts
    } else if (node->is(Op::k_reshape)) {
      v = node->input(0);
    } else {
      return std::nullopt;
    }
  }
  scores.product = v->producer();
  scores.scale = outer;
  return scores;
}

// The mask as a summand of rank 4 over [batch, heads, query, key]; scores may be of [batch * heads, query, key].
Result<Value*> bias_of(Rewriter& rw, const Scores::Mask& mask, const Dim& batch, int64_t heads) {
  Value* v = mask.value;
  if (mask.is_condition) {
    Value* hidden = rw.constant(Tensor::scalar(DType::kF32, mask.fill * mask.factor));
    Value* shown = rw.constant(Tensor::scalar(DType::kF32, 0));
    TENON_ASSIGN(v, rw.create(Op::k_where, {v, mask.hidden_when ? hidden : shown, mask.hidden_when ? shown : hidden}));
  } else if (mask.factor != 1) {
    TENON_ASSIGN(v, rw.create(Op::k_mul, {v, rw.constant(Tensor::scalar(v->dtype(), mask.factor))}));
  }
  if (v->rank() == 4) return v;
  if (v->rank() == 3 && v->shape()[0] == batch * Dim(heads)) {
    return rw.create(Op::k_reshape, {v}, {{"shape", Shape{batch, Dim(heads), v->shape()[1], v->shape()[2]}}});
  }
  Shape shape(static_cast<size_t>(4 - v->rank()), Dim(1));
  shape.insert(shape.end(), v->shape().begin(), v->shape().end());
  return rw.create(Op::k_reshape, {v}, {{"shape", std::move(shape)}});
}

// softmax's output, through what does not change it: the guard where(isnan(p), 0, p), views of [batch * heads].
Node* find_softmax(Value* v) {
  while (Node* node = v->producer()) {
    if (node->is(Op::k_softmax)) return node;
    if (node->is(Op::k_reshape)) {
      v = node->input(0);
    } else if (node->is(Op::k_where) && node->input(0)->is(Op::k_is_nan)) {
      if (node->input(0)->producer()->input(0) != node->input(2)) return nullptr;
      v = node->input(2);
    } else {
      return nullptr;
    }
  }
  return nullptr;
}

Result<bool> match_attention(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_matmul) || node.output()->rank() < 3) return rw.no_match();
  Node* softmax = find_softmax(node.input(0));
  if (softmax == nullptr) return rw.no_match();
  const int64_t axis = softmax->attrs().integer("axis");
  if (axis != -1 && axis != softmax->output()->rank() - 1) return rw.decline(node, "the softmax is not over the last axis");
  std::string reason = "the softmax's input is not a product of queries and keys";
  const auto scores = read_scores(softmax->input(0), reason);
  if (!scores) return rw.decline(node, reason);

  Value *q = scores->product->input(0), *kt = scores->product->input(1), *v = node.input(1);
  if (!q->shape().back().is_const() || !v->shape().back().is_const()) return rw.decline(node, "the head dimension is not constant");
  const int64_t dim = q->shape().back().value();
  const auto width = source_width(q);
  int64_t heads = 0;
  if (q->rank() == 4 && q->shape()[1].is_const()) heads = q->shape()[1].value();
  if (q->rank() == 3 && width && *width % dim == 0) heads = *width / dim;
  if (heads <= 0 || v->shape().back() != Dim(dim)) return rw.decline(node, "heads of queries and values are not of one constant size");
  auto q_heads = trace_heads(q, heads, dim, false);
  auto k_heads = trace_heads(kt, heads, dim, true);
  auto v_heads = trace_heads(v, heads, dim, false);
  if (!q_heads || !k_heads || !v_heads) {
    return rw.decline(node, fmt::format("{} are not heads of rows [batch, seq, heads * dim]", !q_heads ? "queries" : !k_heads ? "keys" : "values"));
  }
  if (q_heads->group != 1 || k_heads->group != v_heads->group) return rw.decline(node, "keys and values are shared by different heads");
  if (v_heads->scale != 1) return rw.decline(node, "values are scaled");

  Value* bias = nullptr;
  const Dim batch = q_heads->rows->shape()[0], seq = q_heads->rows->shape()[1];
  for (const Scores::Mask& mask : scores->masks) {
    if (mask.value->rank() > 4) return rw.decline(node, "a mask has more than four axes");
    const bool by_sequence = q->rank() == 3 && mask.value->rank() == 3 && mask.value->shape()[0] != Dim(1);
    if (by_sequence && mask.value->shape()[0] != q->shape()[0]) return rw.decline(node, "a mask is repeated over heads");
    // Where scores are read as [batch * heads] sequences of one head, a mask may still be of [batch, heads].
    const bool is_other = mask.value->rank() == 4 && mask.value->shape()[0] != Dim(1) && mask.value->shape()[0] != batch;
    if (is_other) return rw.decline(node, "a mask is of other sequences than the heads");
    TENON_ASSIGN(Value * next, bias_of(rw, mask, batch, heads));
    if (bias != nullptr) {
      TENON_ASSIGN(next, rw.create(Op::k_add, {next, bias}));
    }
    bias = next;
  }
  const double scale = scores->scale * q_heads->scale * k_heads->scale;
  std::vector<Value*> inputs{q_heads->rows, k_heads->rows, v_heads->rows};
  if (bias != nullptr) inputs.insert(inputs.end(), {nullptr, nullptr, nullptr, nullptr, nullptr, bias});
  TENON_ASSIGN(Value * fused, rw.create(Op::k_attention, inputs,
                                        {{"heads", heads}, {"kv_heads", k_heads->group == 1 ? 0 : heads / k_heads->group}, {"head_dim", dim}, {"scale", scale},
                                         {"columns", std::vector<int64_t>{q_heads->column, k_heads->column, v_heads->column}}}));
  for (const Node* part : {const_cast<const Node*>(scores->product), const_cast<const Node*>(softmax)}) rw.absorb_origin(fused->producer(), part);

  // Rows are what comes next in every model; a reader of separate heads gets them back as a view.
  const Node* made = fused->producer();
  const MergedHeads merged = find_merged_heads(node.output(), batch, Dim(heads), seq, Dim(dim));
  if (merged.rows != nullptr) {
    Value* same = fused;
    if (merged.sequence_first) {
      TENON_ASSIGN(same, rw.create(Op::k_transpose, {same}, {{"perm", std::vector<int64_t>{1, 0, 2}}}));
    }
    if (merged.rows->rank() == 2) {
      TENON_ASSIGN(same, rw.create(Op::k_reshape, {same}, {{"shape", merged.rows->shape()}}));
    }
    rw.replace(merged.rows, same);
  } else {
    TENON_ASSIGN(Value * split, rw.create(Op::k_reshape, {fused}, {{"shape", Shape{batch, seq, Dim(heads), Dim(dim)}}}));
    TENON_ASSIGN(Value * swapped, rw.create(Op::k_transpose, {split}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}));
    if (node.output()->rank() == 3) {
      TENON_ASSIGN(swapped, rw.create(Op::k_reshape, {swapped}, {{"shape", node.output()->shape()}}));
    }
    rw.replace(node.output(), swapped);
  }
  return rw.changed(*made, fmt::format("{} heads of {}", heads, dim));
}

}  // namespace

Status fuse_attention(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-attention", {match_attention}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
