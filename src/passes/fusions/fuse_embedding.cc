// gather(table1, ids1) + gather(table2, ids2) + …   ->  embedding(ids1, table1, ids2, table2, …)
// layer_norm(embedding(…), gamma, beta)             ->  embedding(…, gamma, beta) {norm = 1}
// embedding(0 1 2 …, P, constants[:seq], T)         ->  embedding(0 1 2 …, P + T[constants])
//
// Why:      each row is read, summed and normalised while it is in cache, and ids are checked in one place. Types that the
//           exporter made constants are looked up once, when the engine is built.
// Declines: a summand is not a look-up in a constant table.
#include <algorithm>

#include "ops/interpret.h"
#include "passes/passes.h"
#include "passes/position_ids.h"

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

// How many of an embedding's inputs are pairs of ids and table.
size_t pair_inputs(const Node& node) { return static_cast<size_t>(node.num_inputs()) - (node.attrs().integer("norm") != 0 ? 2 : 0); }

Result<bool> join_position_tables(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_embedding)) return rw.no_match();
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  size_t positions = inputs.size(), others = inputs.size();
  std::vector<int64_t> types;
  for (size_t i = 0; i < pair_inputs(node); i += 2) {
    const Value& table = *inputs[i + 1];
    const auto ids = table.dtype() == DType::kF32 && table.shape()[0].is_const() ? trace_position_ids(*inputs[i]) : std::nullopt;
    if (!ids) continue;
    if (ids->counts() && positions == inputs.size()) {
      positions = i;
    } else if (!ids->ids.empty() && others == inputs.size()) {
      others = i;
      types = ids->ids;
    }
  }
  if (positions == inputs.size() || others == inputs.size()) return rw.no_match();
  const auto rows = static_cast<size_t>(inputs[positions + 1]->shape()[0].value());
  if (types.size() < rows) return rw.no_match();
  types.resize(rows);
  const int64_t most = inputs[others + 1]->shape()[0].value();
  if (std::ranges::any_of(types, [&](int64_t id) { return id < 0 || id >= most; })) return rw.no_match();
  TENON_ASSIGN(Value * repeated, rw.create(Op::k_gather, {inputs[others + 1], rw.constant(Tensor::ints(types))}, {{"axis", int64_t{0}}}));
  TENON_ASSIGN(inputs[positions + 1], rw.create(Op::k_add, {inputs[positions + 1], repeated}));
  const auto pair = inputs.begin() + static_cast<std::ptrdiff_t>(others);
  inputs.erase(pair, pair + 2);
  TENON_ASSIGN(Value * joined, rw.create(Op::k_embedding, inputs, node.attrs()));
  if (joined->shape() != node.output()->shape()) return rw.decline(node, "the look-ups broadcast in an unusual way");
  rw.absorb_origin(joined->producer(), &node);
  rw.replace(node.output(), joined);
  return rw.changed(*joined->producer(), "constant types into the table of positions");
}

}  // namespace

Status fuse_embedding(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-embedding", {merge_lookups, absorb_norm, join_position_tables}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
