// gather(row_wise(x), rows)        ->  row_wise(gather(x, rows))
// gather(attention(q, k, v), rows) ->  attention(gather(q, rows), k, v)
//
// Why:      a classifier reads one row per text; the last layer then computes its query, its feed-forward network and its norms
//           for that row alone.
// Order:    after pack-tokens, whose kept rows are gathers along the first axis; before the q, k, v products are merged.
// Declines: somebody else reads the rows (silently: this is the common case).
#include "passes/passes.h"

namespace tenon::passes {
namespace {

// The rows that a gather picks: one block of `per_sequence` rows for each sequence, in order.
bool picks_rows(const Node& node) {
  return node.is(Op::k_gather) && node.attrs().integer("axis") == 0 && node.input(1)->rank() == 1 && !node.input(0)->is(Op::k_constant) &&
         node.input(0)->rank() == 2 && node.input(0)->has_one_use() && node.input(0)->shape()[0] == Dim::symbol("tokens");
}

Result<bool> push_through_attention(Rewriter& rw, Node& gather, Node& attention) {
  Value *offsets = attention.input(3), *index = gather.input(1);
  if (offsets == nullptr) return rw.no_match();
  const Dim batch = attention.input(4)->shape()[0];
  const auto per_sequence = index->shape()[0].exact_div(batch);
  if (!per_sequence || !per_sequence->is_const()) return rw.no_match();
  std::vector<Value*> inputs(attention.inputs().begin(), attention.inputs().end());
  TENON_ASSIGN(inputs[0], rw.create(Op::k_gather, {inputs[0], index}, {{"axis", int64_t{0}}}));
  TENON_ASSIGN(inputs[3], rw.create(Op::k_iota, {}, {{"size", Shape{batch + Dim(1)}}, {"step", per_sequence->value()}, {"dtype", DType::kI32}}));
  if (inputs.size() > 6 && inputs[6] != nullptr) {
    TENON_ASSIGN(inputs[6], rw.create(Op::k_gather, {inputs[6], index}, {{"axis", int64_t{0}}}));
  }
  TENON_ASSIGN(Value * rows, rw.create(Op::k_attention, inputs, attention.attrs()));
  rw.absorb_origin(rows->producer(), &attention);
  rw.replace(gather.output(), rows);
  return rw.changed(*rows->producer(), "queries of the rows that are read");
}

Result<bool> push_down(Rewriter& rw, Node& gather) {
  if (!picks_rows(gather)) return rw.no_match();
  Node& source = *gather.input(0)->producer();
  if (source.is(Op::k_attention)) return push_through_attention(rw, gather, source);
  const bool row_wise = source.is(Op::k_linear) || source.is(Op::k_layer_norm) || source.is(Op::k_rms_norm) ||
                        ops::op_def(source.op()).locality == ops::Locality::kElementwise;
  if (!row_wise) return rw.no_match();
  std::vector<Value*> inputs(source.inputs().begin(), source.inputs().end());
  for (size_t i = 0; i < inputs.size(); ++i) {
    // Weights, gains and vectors are shared by all rows.
    if (inputs[i] == nullptr || inputs[i]->rank() < 2 || inputs[i]->shape()[0] != gather.input(0)->shape()[0]) continue;
    TENON_ASSIGN(inputs[i], rw.create(Op::k_gather, {inputs[i], gather.input(1)}, {{"axis", int64_t{0}}}));
  }
  TENON_ASSIGN(Value * rows, rw.create(source.op(), inputs, source.attrs()));
  rw.absorb_origin(rows->producer(), &source);
  rw.replace(gather.output(), rows);
  return true;
}

}  // namespace

Status push_down_row_slices(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "push-down-row-slices", {push_down}, decisions));
  return eliminate_common_subexpressions(graph, decisions);
}

}  // namespace tenon::passes
