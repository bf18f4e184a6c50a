// Reshapes and transposes: merged, cancelled, and moved below row-wise ops so that rows keep their [batch, seq, …] shape.
//
//   reshape(reshape(x))                        -> reshape(x), or x
//   transpose(transpose(x))                    -> transpose(x), or x
//   linear(reshape(x: [b,s,k] to [b*s,k]), w)  -> reshape(linear(x, w))        also elementwise ops and layer_norm
//   add(reshape(x), reshape(y))                -> reshape(add(x, y))           the same flattening on both sides
//   linear(transpose(x: [s,b,k] from [b,s,k])) -> transpose(linear(x))          rows keep [batch, seq] order
//   rms_norm(transpose(x)) over the last axis  -> transpose(rms_norm(x))        also layer_norm
//   gather(view of x: [b,s,3h] as [3,…], i)    -> slice of x's columns          one of merged q, k, v; also by slice
#include "passes/passes.h"
#include "passes/views.h"

namespace tenon::passes {
namespace {

Result<bool> merge_reshapes(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_reshape)) return rw.no_match();
  Value* x = node.input(0);
  if (x->shape() == node.output()->shape()) {
    if (node.output()->uses().empty() && !node.output()->is_output()) return rw.no_match();
    rw.replace(node.output(), x);
    return true;
  }
  if (!x->is(Op::k_reshape)) return rw.no_match();
  TENON_ASSIGN(Value * merged, rw.create(Op::k_reshape, {x->producer()->input(0)}, {{"shape", node.output()->shape()}}));
  rw.replace(node.output(), merged);
  return true;
}

bool is_identity(const std::vector<int64_t>& perm) {
  for (size_t i = 0; i < perm.size(); ++i)
    if (perm[i] != static_cast<int64_t>(i)) return false;
  return true;
}

Result<bool> merge_transposes(Rewriter& rw, Node& node) {
  if (node.is(Op::k_transpose) && is_identity(node.attrs().integers("perm")) && !(node.output()->uses().empty() && !node.output()->is_output())) {
    rw.replace(node.output(), node.input(0));
    return true;
  }
  if (!node.is(Op::k_transpose) || !node.input(0)->is(Op::k_transpose)) return rw.no_match();
  const Node& inner = *node.input(0)->producer();
  const auto& first = inner.attrs().integers("perm");
  std::vector<int64_t> perm;
  bool identity = true;
  for (int64_t p : node.attrs().integers("perm")) {
    identity &= first[static_cast<size_t>(p)] == static_cast<int64_t>(perm.size());
    perm.push_back(first[static_cast<size_t>(p)]);
  }
  Value* merged = inner.input(0);
  if (!identity) {
    TENON_ASSIGN(merged, rw.create(Op::k_transpose, {inner.input(0)}, {{"perm", perm}}));
  }
  rw.replace(node.output(), merged);
  return true;
}

// A reshape that merges leading axes only: [b, s, k] -> [b*s, k]. Returns its input, or null.
Value* unflattened(Value* v) {
  if (v == nullptr || !v->is(Op::k_reshape)) return nullptr;
  Value* x = v->producer()->input(0);
  const bool flattens = x->rank() == 3 && v->rank() == 2 && x->shape().back() == v->shape().back();
  return flattens ? x : nullptr;
}

Result<bool> sink_flattening(Rewriter& rw, Node& node) {
  const ops::OpDef& def = ops::op_def(node.op());
  const bool row_wise = node.is(Op::k_linear) || def.locality == ops::Locality::kElementwise ||
                        (node.is(Op::k_layer_norm) && node.input(0)->rank() == 2 && (node.attrs().integer("axis") == -1 || node.attrs().integer("axis") == 1));
  if (!row_wise || node.num_outputs() != 1 || node.num_inputs() == 0 || node.output()->rank() != 2) return rw.no_match();
  if (node.output()->uses().empty()) return rw.no_match();
  std::vector<Value*> inputs;
  Shape leading;
  for (int i = 0; i < node.num_inputs(); ++i) {
    Value* v = node.input(i);
    inputs.push_back(v);
    // Weights, gains and vectors that broadcast over rows stay as they are.
    if (v == nullptr || v->rank() < 2 || (node.is(Op::k_linear) && i == 1)) continue;
    Value* x = unflattened(v);
    if (x == nullptr || (!leading.empty() && leading != Shape(x->shape().begin(), x->shape().end() - 1))) return rw.no_match();
    leading.assign(x->shape().begin(), x->shape().end() - 1);
    inputs.back() = x;
  }
  if (leading.empty()) return rw.no_match();
  Attrs attrs = node.attrs();
  if (node.is(Op::k_layer_norm)) attrs.set("axis", int64_t{-1});
  TENON_ASSIGN(Value * rows, rw.create(node.op(), inputs, attrs));
  TENON_ASSIGN(Value * flat, rw.create(Op::k_reshape, {rows}, {{"shape", node.output()->shape()}}));
  rw.replace(node.output(), flat);
  return true;
}

Result<bool> sink_transpose(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_linear) || node.input(3) != nullptr || !node.input(0)->is(Op::k_transpose) || node.output()->rank() != 3) return rw.no_match();
  const Node& transpose = *node.input(0)->producer();
  if (transpose.attrs().integers("perm") != std::vector<int64_t>{1, 0, 2}) return rw.no_match();
  TENON_ASSIGN(Value * rows, rw.create(Op::k_linear, {transpose.input(0), node.input(1), node.input(2)}, node.attrs()));
  TENON_ASSIGN(Value * swapped, rw.create(Op::k_transpose, {rows}, transpose.attrs()));
  rw.replace(node.output(), swapped);
  return true;
}

// Heads that are normalised each for itself, after they were split.
Result<bool> sink_below_norm(Rewriter& rw, Node& node) {
  const bool norm = node.is(Op::k_layer_norm) || node.is(Op::k_rms_norm);
  if (!norm || !node.input(0)->is(Op::k_transpose) || node.output()->uses().empty()) return rw.no_match();
  const Node& transpose = *node.input(0)->producer();
  const int64_t last = node.output()->rank() - 1, axis = node.attrs().integer("axis");
  if ((axis != -1 && axis != last) || transpose.attrs().integers("perm").back() != last) return rw.no_match();
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  for (size_t i = 1; i < inputs.size(); ++i)
    if (inputs[i] != nullptr && inputs[i]->rank() > 1) return rw.no_match();  // a residual
  inputs[0] = transpose.input(0);
  TENON_ASSIGN(Value * normed, rw.create(node.op(), inputs, node.attrs()));
  TENON_ASSIGN(Value * swapped, rw.create(Op::k_transpose, {normed}, transpose.attrs()));
  rw.replace(node.output(), swapped);
  return true;
}

Result<bool> slice_columns(Rewriter& rw, Node& node) {
  if ((!node.is(Op::k_gather) && !node.is(Op::k_slice)) || node.output()->uses().empty()) return rw.no_match();
  const auto block = trace_column_block(node);
  if (!block) return rw.no_match();
  TENON_ASSIGN(Value * columns, rw.create(Op::k_slice, {block->source}, {{"axes", std::vector<int64_t>{2}}, {"starts", Shape{Dim(block->begin)}},
                                                                         {"ends", Shape{Dim(block->begin + block->width)}}, {"steps", std::vector<int64_t>{1}}}));
  const Shape& rows = columns->shape();
  TENON_ASSIGN(Value * split, rw.create(Op::k_reshape, {columns}, {{"shape", Shape{rows[0], rows[1], Dim(block->width / block->dim), Dim(block->dim)}}}));
  TENON_ASSIGN(Value * ordered, rw.create(Op::k_transpose, {split}, {{"perm", block->order}}));
  TENON_ASSIGN(Value * shaped, rw.create(Op::k_reshape, {ordered}, {{"shape", node.output()->shape()}}));
  rw.replace(node.output(), shaped);
  return true;
}

}  // namespace

Status simplify_layout(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "simplify-layout", {merge_reshapes, merge_transposes, sink_flattening, sink_transpose, sink_below_norm, slice_columns}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
