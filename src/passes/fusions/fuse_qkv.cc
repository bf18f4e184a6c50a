//   x -- linear(Wq, bq) -- q --.
//   x -- linear(Wk, bk) -- k --+-- attention    =>    x -- linear([Wq Wk Wv], [bq bk bv]) -- attention {columns}
//   x -- linear(Wv, bv) -- v --'
//
// Why:      x is read once and one wide product runs nearer to the peak than three narrow ones. Attention reads its columns in
//           place, so nothing is split afterwards.
// Order:    after the exact rewrites, which change the three weights apart.
// Declines: the projections read different inputs (two of three may still merge), or have other readers.
#include "passes/passes.h"

namespace tenon::passes {
namespace {

bool is_mergeable(const Node& attention, int i) {
  Value* v = attention.input(i);
  if (!v->is(Op::k_linear) || !v->has_one_use() || attention.attrs().integers("columns")[static_cast<size_t>(i)] != 0) return false;
  const Node& linear = *v->producer();
  return linear.attrs().text("activation").empty() && linear.input(3) == nullptr && v->shape().back().is_const();
}

Result<bool> merge_projections(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_attention)) return rw.no_match();
  std::vector<int> merged;
  for (int i : {0, 1, 2})
    if (is_mergeable(node, i)) merged.push_back(i);
  // All that read the input of the last one: v and k share their input in every attention.
  if (merged.size() < 2) return rw.no_match();
  Value* x = node.input(merged.back())->producer()->input(0);
  std::erase_if(merged, [&](int i) { return node.input(i)->producer()->input(0) != x; });
  if (merged.size() < 2) return rw.decline(node, "q, k and v project different inputs");

  std::vector<Value*> weights, biases;
  bool any_bias = false;
  for (int i : merged) any_bias |= node.input(i)->producer()->input(2) != nullptr;
  auto columns = node.attrs().integers("columns");
  int64_t column = 0;
  for (int i : merged) {
    const Node& linear = *node.input(i)->producer();
    const int64_t width = linear.output()->shape().back().value();
    weights.push_back(linear.input(1));
    Value* bias = linear.input(2);
    if (bias == nullptr && any_bias) bias = rw.constant(Tensor::from(DType::kF32, {width}, std::vector<float>(static_cast<size_t>(width))));
    biases.push_back(bias);
    columns[static_cast<size_t>(i)] = column;
    column += width;
  }
  TENON_ASSIGN(Value * weight, rw.create(Op::k_concat, weights, {{"axis", int64_t{1}}}));
  Value* bias = nullptr;
  if (any_bias) {
    TENON_ASSIGN(bias, rw.create(Op::k_concat, biases, {{"axis", int64_t{0}}}));
  }
  TENON_ASSIGN(Value * rows, rw.create(Op::k_linear, {x, weight, bias}));
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  for (int i : merged) {
    rw.absorb_origin(rows->producer(), node.input(i)->producer());
    inputs[static_cast<size_t>(i)] = rows;
  }
  Attrs attrs = node.attrs();
  attrs.set("columns", columns);
  TENON_ASSIGN(Value * fused, rw.create(Op::k_attention, inputs, attrs));
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), merged.size() == 3 ? "q, k and v" : "two of q, k and v");
}

}  // namespace

Status fuse_qkv(Graph& graph, Decisions& decisions) { return apply_rules(graph, "fuse-qkv", {merge_projections}, decisions); }

}  // namespace tenon::passes
