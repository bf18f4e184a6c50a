// unpack_tokens(gather(x, column))   ->  unpack_tokens(x) {column}
// cast(unpack_tokens(x))             ->  unpack_tokens(x) {to}
//
// Why:      a head's logits go through a chain of small steps (start and end of a span apart, unpacked, widened); where
// few
//           rows are computed, a step costs more than what it moves.
// Order:    behind lower-precision, which makes the casts.
// Declines: somebody else reads the rows between (silently).
#include "passes/passes.h"

namespace tenon::passes {
namespace {

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
  Attrs attrs = unpack.attrs();
  attrs.set("to", std::string(dtype_name(node.output()->type().dtype)));
  TENON_ASSIGN(Value * y, create_unpack(rw, unpack, unpack.input(0), attrs));
  rw.absorb_origin(y->producer(), &unpack);
  rw.replace(node.output(), y);
  return rw.changed(*y->producer(), "its cast");
}

}  // namespace

Status fuse_unpack(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-unpack", {take_column, take_cast}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
