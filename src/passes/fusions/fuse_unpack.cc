// unpack_tokens(gather(x, column))   ->  unpack_tokens(x) {column}
// cast(unpack_tokens(x))             ->  unpack_tokens(x) {to}
// unpack_tokens(x) {column = 0}, unpack_tokens(x) {column = 1}  ->  unpack_tokens(x) {column = 0, columns = 2}
//
// Why:      a head's logits go through a chain of small steps (start and end of a span apart, unpacked, widened); where
// few
//           rows are computed, a step costs more than what it moves.
// Order:    behind lower-precision, which makes the casts.
// Declines: somebody else reads the rows between (silently).
#include <algorithm>

#include "passes/passes.h"

namespace tenon::passes {
namespace {

constexpr int kMostColumns = 8;  // of one unpack_tokens

bool is_float_value(const Value& v) { return is_float(v.type().dtype); }

Result<Value*> create_unpack(Rewriter& rw, Node& unpack, Value* x, Attrs attrs) {
  return rw.create(Op::k_unpack_tokens, {x, unpack.input(1), unpack.input(2), unpack.input(3)}, std::move(attrs));
}

Result<bool> take_column(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_unpack_tokens) || node.attrs().integer("column") >= 0) return rw.no_match();
  Value* rows = node.input(0);
  if (!rows->is(Op::k_gather) || !rows->has_one_use() || !is_float_value(*rows)) return rw.no_match();
  Node& gather = *rows->producer();
  Value *x = gather.input(0), *index = gather.input(1);
  const int64_t axis = gather.attrs().integer("axis");
  if (x->rank() != 2 || (axis != 1 && axis != -1) || index->rank() != 0) return rw.no_match();
  const Tensor* column = index->constant();
  const Dim width = x->shape()[1];
  if (column == nullptr || !width.is_const()) return rw.no_match();
  Attrs attrs = node.attrs();
  attrs.set("column", column->int_at(0) + (column->int_at(0) < 0 ? width.value() : 0));
  TENON_ASSIGN(Value * y, create_unpack(rw, node, x, attrs));
  rw.absorb_origin(y->producer(), &gather);
  rw.replace(node.output(), y);
  return rw.changed(*y->producer(), "one column");
}

Result<bool> take_cast(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_cast) || !is_float_value(*node.output())) return rw.no_match();
  Value* unpacked = node.input(0);
  if (!unpacked->is(Op::k_unpack_tokens) || !unpacked->has_one_use() || !is_float_value(*unpacked))
    return rw.no_match();
  Node& unpack = *unpacked->producer();
  if (unpack.num_outputs() > 1) return rw.no_match();
  Attrs attrs = unpack.attrs();
  attrs.set("to", std::string(dtype_name(node.output()->type().dtype)));
  TENON_ASSIGN(Value * y, create_unpack(rw, unpack, unpack.input(0), attrs));
  rw.absorb_origin(y->producer(), &unpack);
  rw.replace(node.output(), y);
  return rw.changed(*y->producer(), "its cast");
}

// Whether `b` unpacks the columns behind those of `a`, of the same rows and likewise.
bool goes_on(const Node& a, const Node& b) {
  if (!a.is(Op::k_unpack_tokens) || !b.is(Op::k_unpack_tokens)) return false;
  if (a.attrs().integer("column") < 0 || !std::ranges::equal(a.inputs(), b.inputs())) return false;
  Attrs behind = a.attrs();
  behind.set("column", a.attrs().integer("column") + a.num_outputs());
  behind.set("columns", int64_t{b.num_outputs()});
  return behind == b.attrs();
}

// The first of two that is visited stands before the other, and so does what replaces both.
Result<bool> join_columns(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_unpack_tokens) || node.attrs().integer("column") < 0) return rw.no_match();
  const std::vector<ir::Use> uses(node.input(0)->uses().begin(), node.input(0)->uses().end());
  for (const ir::Use& use : uses) {
    Node& other = *use.node;
    const bool before = goes_on(other, node);
    if (&other == &node || node.num_outputs() + other.num_outputs() > kMostColumns || (!before && !goes_on(node, other))) continue;
    std::vector<Value*> outputs;
    for (Node* part : {before ? &other : &node, before ? &node : &other})
      for (int i = 0; i < part->num_outputs(); ++i) outputs.push_back(part->output(i));
    Attrs attrs = outputs[0]->producer()->attrs();
    attrs.set("columns", static_cast<int64_t>(outputs.size()));
    TENON_ASSIGN(Value * first, create_unpack(rw, node, node.input(0), attrs));
    Node& joined = *first->producer();
    for (size_t i = 0; i < outputs.size(); ++i) rw.replace(outputs[i], joined.output(static_cast<int>(i)));
    return rw.changed(joined, fmt::format("{} columns at once", outputs.size()));
  }
  return rw.no_match();
}

}  // namespace

Status fuse_unpack(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-unpack", {take_column, take_cast}, decisions));
  TENON_TRY(apply_rules(graph, "fuse-unpack", {join_columns}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
