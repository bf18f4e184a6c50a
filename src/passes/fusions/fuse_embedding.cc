// gather(table1, ids1) + gather(table2, ids2) + …   ->  embedding(ids1, table1, ids2, table2, …)
// layer_norm(embedding(…), gamma, beta)             ->  embedding(…, gamma, beta) {norm = 1}
//
// Why:      each row is read, summed and normalised while it is in cache, and ids are checked in one place.
// Declines: a summand is not a look-up in a constant table.
#include "ops/interpret.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

// A look-up of rows: gather along axis 0 of a constant matrix. Positions that were sliced out of a table instead of being
// looked up (table[:seq]) are left as they are.
bool is_lookup(const Value* v) {
  if (!v->is(Op::k_gather)) return false;
  const Node& gather = *v->producer();
  return gather.attrs().integer("axis") == 0 && gather.input(0)->rank() == 2 && gather.input(0)->dtype() == DType::kF32 &&
         ops::is_constant_expression(*gather.input(0)) && gather.input(1)->rank() >= 1;
}

bool is_plain_embedding(const Value* v) { return v->is(Op::k_embedding) && v->has_one_use() && v->producer()->attrs().integer("norm") == 0; }

// (indices, table) pairs of a look-up or of an embedding that is being built up.
bool append_pairs(Value* v, std::vector<Value*>& pairs) {
  if (is_plain_embedding(v)) {
    pairs.insert(pairs.end(), v->producer()->inputs().begin(), v->producer()->inputs().end());
  } else if (is_lookup(v) && v->has_one_use()) {
    pairs.insert(pairs.end(), {v->producer()->input(1), v->producer()->input(0)});
  } else {
    return false;
  }
  return true;
}

Result<bool> merge_lookups(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_add)) return rw.no_match();
  std::vector<Value*> pairs;
  if (!append_pairs(node.input(0), pairs) || !append_pairs(node.input(1), pairs)) return rw.no_match();
  TENON_ASSIGN(Value * sum, rw.create(Op::k_embedding, pairs));
  // Broadcasting ranks differ between adding rows and looking ids up together only if a rank is implied.
  if (sum->shape() != node.output()->shape()) return rw.decline(node, "the look-ups broadcast in an unusual way");
  for (int i : {0, 1}) rw.absorb_origin(sum->producer(), node.input(i)->producer());
  rw.replace(node.output(), sum);
  return rw.changed(*sum->producer(), "look-ups");
}

Result<bool> absorb_norm(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_layer_norm) || node.input(1) == nullptr || node.input(2) == nullptr || node.input(3) != nullptr) return rw.no_match();
  const int64_t axis = node.attrs().integer("axis");
  std::vector<Value*> inputs;
  if ((axis != -1 && axis != node.output()->rank() - 1) || !append_pairs(node.input(0), inputs)) return rw.no_match();
  inputs.insert(inputs.end(), {node.input(1), node.input(2)});
  TENON_ASSIGN(Value * fused, rw.create(Op::k_embedding, inputs, {{"norm", int64_t{1}}, {"epsilon", node.attrs().number("epsilon")}}));
  rw.absorb_origin(fused->producer(), node.input(0)->producer());
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), "norm");
}

}  // namespace

Status fuse_embedding(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-embedding", {merge_lookups, absorb_norm}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
