// Padding along one axis, for targets that have no kernel for it.
//
//   pad(x) {before = dims[0,0,0], after = dims[0,1,0]}   ->   concat(x, expand(value)) {axis = 1}
//
// Order:    after fold-into-conv, which takes padding into convolutions.
// Exact:    elements are copied.
// Declines: modes that repeat elements, cropping, padding along several axes.
#include "passes/passes.h"

namespace tenon::passes {
namespace {

Result<bool> join(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_pad)) return rw.no_match();
  if (node.attrs().text("mode") != "constant") return rw.decline(node, "its padding repeats elements");
  const Shape &before = node.attrs().shape("before"), &after = node.attrs().shape("after");
  size_t axis = 0;
  int padded = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i] == Dim(0) && after[i] == Dim(0)) continue;
    if (!before[i].at_least(0) || !after[i].at_least(0)) return rw.decline(node, "it may crop");
    axis = i;
    ++padded;
  }
  if (padded != 1) return rw.decline(node, "it pads along several axes");
  Value* x = node.input(0);
  const Tensor value = Tensor::scalar(x->dtype(), node.attrs().number("value"));
  std::vector<Value*> parts;
  const auto add = [&](const Dim& size) -> Status {
    if (size == Dim(0)) return {};
    Shape shape = x->shape();
    shape[axis] = size;
    TENON_ASSIGN(Value * part, rw.create(Op::k_expand, {rw.constant(value)}, {{"shape", std::move(shape)}}));
    parts.push_back(part);
    return {};
  };
  TENON_TRY(add(before[axis]));
  parts.push_back(x);
  TENON_TRY(add(after[axis]));
  TENON_ASSIGN(Value * joined, rw.create(Op::k_concat, parts, {{"axis", static_cast<int64_t>(axis)}}));
  rw.replace(node.output(), joined);
  return rw.changed(*joined->producer());
}

}  // namespace

Status lower_pad(Graph& graph, Decisions& decisions) { return apply_rules(graph, "lower-pad", {join}, decisions); }

}  // namespace tenon::passes
