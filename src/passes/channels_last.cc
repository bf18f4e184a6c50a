// conv and pooling of [N, C, spatial…]   ->   of [N, spatial…, C], between transposes
//
// which then move down, through what works on each element and what is easily told about other axes, until they cancel:
//
//   f(first(x), first(y))           -> first(f(x, y))       elementwise; small operands are transposed instead
//   concat(first(x), first(y))      -> first(concat(x, y))
//   reduce(first(x), spatial axes)  -> first(reduce(x)), or reduce(x) where it keeps no axes; pad alike
//   reshape(first(x) to [N, C, all]) -> first(reshape(x to [N, all, C]))
//   last(first(x))                  -> x
//   a transpose that moves axes of one element only -> reshape
//
// where first(x) puts the channels of x behind the batch and last(x) behind all else.
//
// Why:      the kernels of convolutions read rows of channels; each reformat is a pass over memory.
// Order:    after the convolutions have their epilogues; before chains of elementwise ops become programs, which may
//           then hold more.
// Declines: a conv whose weights are computed when run; pooling that gives indices.
#include <algorithm>
#include <set>

#include "ops/interpret.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

constexpr char kName[] = "channels-last";

std::vector<int64_t> to_last(int rank) {
  std::vector<int64_t> perm{0};
  for (int i = 2; i < rank; ++i) perm.push_back(i);
  perm.push_back(1);
  return perm;
}

std::vector<int64_t> to_first(int rank) {
  std::vector<int64_t> perm{0, rank - 1};
  for (int i = 1; i + 1 < rank; ++i) perm.push_back(i);
  return perm;
}

bool transposes_by(const Value* v, std::vector<int64_t> (*perm)(int)) {
  return v != nullptr && v->is(Op::k_transpose) && v->rank() >= 3 &&
         v->producer()->attrs().integers("perm") == perm(v->rank());
}

// x where v = first(x); null otherwise.
Value* under_first(const Value* v) { return transposes_by(v, to_first) ? v->producer()->input(0) : nullptr; }

Result<Value*> last(Rewriter& rw, Value* v) {
  if (Value* x = under_first(v)) return x;
  return rw.create(Op::k_transpose, {v}, {{"perm", to_last(v->rank())}});
}
Result<Value*> first(Rewriter& rw, Value* v) {
  return rw.create(Op::k_transpose, {v}, {{"perm", to_first(v->rank())}});
}

// first(x) in the place of `v`. x is v with another order of axes, and is called so.
Result<bool> replace_by_first(Rewriter& rw, Value* v, Value* x) {
  x->set_name(rw.graph().unique_name(v->name() + kChannelsLastSuffix));
  TENON_ASSIGN(Value * y, first(rw, x));
  rw.replace(v, y);
  return true;
}

// The place of axis `axis` of first(x) in x.
int64_t axis_of_last(int64_t axis, int rank) { return axis == 0 ? 0 : axis == 1 ? rank - 1 : axis - 1; }

// True when `perm` moves only axes of one element.
bool is_view(const Shape& shape, const std::vector<int64_t>& perm) {
  int64_t before = -1;
  for (const int64_t axis : perm) {
    if (shape[static_cast<size_t>(axis)] == Dim(1)) continue;
    if (axis < before) return false;
    before = axis;
  }
  return true;
}

// ---- Where the layout begins ----------------------------------------------------------------------------------------

Result<bool> turn_conv(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_conv) || node.attrs().integer("channels_last") != 0) return rw.no_match();
  if (!is_float(node.output()->dtype()) || node.output()->dtype() == DType::kF64) return rw.no_match();
  if (!ops::is_constant_expression(*node.input(1))) return rw.decline(node, "its weights are computed when run");
  Attrs attrs = node.attrs();
  attrs.set("channels_last", int64_t{1});
  TENON_ASSIGN(Value * x, last(rw, node.input(0)));
  std::vector<Value*> inputs{x, node.input(1), node.input(2), node.input(3)};
  if (inputs[3] != nullptr) {
    TENON_ASSIGN(inputs[3], last(rw, inputs[3]));
  }
  TENON_ASSIGN(Value * y, rw.create(Op::k_conv, inputs, attrs));
  rw.absorb_origin(y->producer(), &node);
  return replace_by_first(rw, node.output(), y);
}

// Pooling alone is no reason to change the layout.
Result<bool> turn_pool(Rewriter& rw, Node& node) {
  const bool pools = node.is(Op::k_max_pool) || node.is(Op::k_average_pool) || node.is(Op::k_lp_pool);
  if (!pools || under_first(node.input(0)) == nullptr) return rw.no_match();
  if (node.num_outputs() > 1) return rw.decline(node, "it gives indices");
  Attrs attrs = node.attrs();
  attrs.set("channels_last", int64_t{1});
  TENON_ASSIGN(Value * y, rw.create(node.op(), {under_first(node.input(0))}, attrs));
  return replace_by_first(rw, node.output(), y);
}

// ---- How transposes move --------------------------------------------------------------------------------------------

Result<bool> cancel(Rewriter& rw, Node& node) {
  Value* x = transposes_by(node.output(), to_last) ? under_first(node.input(0)) : nullptr;
  if (x == nullptr || (node.output()->uses().empty() && !node.output()->is_output())) return rw.no_match();
  rw.replace(node.output(), x);
  return true;
}

// Axes of one element may stand anywhere.
Result<bool> to_reshape(Rewriter& rw, Node& node) {
  if (!transposes_by(node.output(), to_first) && !transposes_by(node.output(), to_last)) return rw.no_match();
  if (node.output()->uses().empty() && !node.output()->is_output()) return rw.no_match();
  if (ops::is_constant_expression(*node.output())) return rw.no_match();
  if (!is_view(node.input(0)->shape(), node.attrs().integers("perm"))) return rw.no_match();
  TENON_ASSIGN(Value * y, rw.create(Op::k_reshape, {node.input(0)}, {{"shape", node.output()->shape()}}));
  rw.replace(node.output(), y);
  return true;
}

// An operand of an elementwise op, as it is to be read with channels last; null where that would need another reformat.
Result<Value*> operand_last(Rewriter& rw, Value* v, int rank) {
  if (Value* x = under_first(v); x != nullptr && v->rank() == rank) return x;
  const Dim count = ir::numel(v->shape());
  if (count == Dim(1) && v->rank() <= 1) return v;
  Shape shape(static_cast<size_t>(rank - v->rank()), Dim(1));
  shape.insert(shape.end(), v->shape().begin(), v->shape().end());
  if (!is_view(shape, to_last(rank)) && !ops::is_constant_expression(*v)) return static_cast<Value*>(nullptr);
  if (v->rank() < rank) {
    TENON_ASSIGN(v, rw.create(Op::k_reshape, {v}, {{"shape", std::move(shape)}}));
  }
  return rw.create(Op::k_transpose, {v}, {{"perm", to_last(rank)}});
}

Result<bool> sink_elementwise(Rewriter& rw, Node& node) {
  if (ops::op_def(node.op()).locality != ops::Locality::kElementwise || node.num_outputs() != 1) return rw.no_match();
  const Value* y = node.output();
  const bool any = std::ranges::any_of(node.inputs(),
                                       [&](Value* v) { return under_first(v) != nullptr && v->shape() == y->shape(); });
  if (!any || (y->uses().empty() && !y->is_output())) return rw.no_match();
  std::vector<Value*> inputs;
  for (Value* v : node.inputs()) {
    inputs.push_back(v);
    if (v == nullptr) continue;
    TENON_ASSIGN(inputs.back(), operand_last(rw, v, y->rank()));
    if (inputs.back() == nullptr) return rw.no_match();
  }
  TENON_ASSIGN(Value * made, rw.create(node.op(), inputs, node.attrs()));
  return replace_by_first(rw, node.output(), made);
}

Result<bool> sink_concat(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_concat)) return rw.no_match();
  std::vector<Value*> inputs;
  for (Value* v : node.inputs()) {
    inputs.push_back(under_first(v));
    if (inputs.back() == nullptr) return rw.no_match();
  }
  const int rank = node.output()->rank();
  const int64_t axis = node.attrs().integer("axis");
  Attrs attrs = node.attrs();
  attrs.set("axis", axis_of_last(axis < 0 ? axis + rank : axis, rank));
  TENON_ASSIGN(Value * y, rw.create(Op::k_concat, inputs, attrs));
  return replace_by_first(rw, node.output(), y);
}

bool reduces(const Node& node) {
  switch (node.op()) {
    case Op::k_reduce_sum:
    case Op::k_reduce_mean:
    case Op::k_reduce_max:
    case Op::k_reduce_min:
    case Op::k_reduce_prod:
    case Op::k_reduce_l2:
      return true;
    default:
      return false;
  }
}

Result<bool> sink_reduce(Rewriter& rw, Node& node) {
  Value* x = reduces(node) ? under_first(node.input(0)) : nullptr;
  if (x == nullptr) return rw.no_match();
  const bool keeps = node.attrs().integer("keepdims") != 0;
  std::set<int64_t> axes;
  for (const int64_t axis : node.attrs().integers("axes")) axes.insert(axis_of_last(axis, x->rank()));
  // Without its axes, what is left must stand in the same order: no channels, or nothing but channels and the batch.
  const bool channels = !axes.contains(x->rank() - 1);
  if (!keeps && channels && static_cast<int>(axes.size()) < x->rank() - 2) return rw.no_match();
  Attrs attrs = node.attrs();
  attrs.set("axes", std::vector<int64_t>(axes.begin(), axes.end()));
  TENON_ASSIGN(Value * y, rw.create(node.op(), {x}, attrs));
  if (keeps) return replace_by_first(rw, node.output(), y);
  rw.replace(node.output(), y);
  return true;
}

Result<bool> sink_pad(Rewriter& rw, Node& node) {
  Value* x = node.is(Op::k_pad) ? under_first(node.input(0)) : nullptr;
  if (x == nullptr) return rw.no_match();
  Attrs attrs = node.attrs();
  for (const char* name : {"before", "after"}) {
    const Shape& given = node.attrs().shape(name);
    Shape moved = given;
    for (size_t i = 0; i < given.size(); ++i)
      moved[static_cast<size_t>(axis_of_last(static_cast<int64_t>(i), x->rank()))] = given[i];
    attrs.set(name, std::move(moved));
  }
  TENON_ASSIGN(Value * y, rw.create(Op::k_pad, {x}, attrs));
  return replace_by_first(rw, node.output(), y);
}

// [N, C, H, W] -> [N, C, H * W], as before a Transformer's first layer.
Result<bool> sink_merge(Rewriter& rw, Node& node) {
  Value* x = node.is(Op::k_reshape) ? under_first(node.input(0)) : nullptr;
  if (x == nullptr || x->rank() == 3) return rw.no_match();
  const Shape &from = node.input(0)->shape(), &to = node.output()->shape();
  if (to.size() != 3 || to[0] != from[0] || to[1] != from[1]) return rw.no_match();
  TENON_ASSIGN(Value * y, rw.create(Op::k_reshape, {x}, {{"shape", Shape{to[0], to[2], to[1]}}}));
  return replace_by_first(rw, node.output(), y);
}

Result<bool> join_reshapes(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_reshape) || !node.input(0)->is(Op::k_reshape)) return rw.no_match();
  if (node.output()->uses().empty() && !node.output()->is_output()) return rw.no_match();
  Value* y = node.input(0)->producer()->input(0);
  if (y->shape() != node.output()->shape()) {
    TENON_ASSIGN(y, rw.create(Op::k_reshape, {y}, node.attrs()));
  }
  rw.replace(node.output(), y);
  return true;
}

}  // namespace

Status channels_last(Graph& graph, Decisions& decisions) {
  const auto count = [&](auto&& counted) {
    return std::ranges::count_if(graph.nodes(), [&](const auto& node) { return counted(*node); });
  };
  if (count([](const Node& n) { return n.is(Op::k_conv); }) == 0) return {};
  TENON_TRY(apply_rules(graph, kName,
                        {turn_conv, turn_pool, cancel, to_reshape, sink_elementwise, sink_concat, sink_reduce, sink_pad,
                         sink_merge, join_reshapes},
                        decisions));
  TENON_TRY(eliminate_common_subexpressions(graph, decisions));
  TENON_TRY(eliminate_dead_code(graph, decisions));
  const auto turned = count(
      [](const Node& n) { return n.attrs().find("channels_last") != nullptr && n.attrs().integer("channels_last"); });
  if (turned == 0) return {};
  const auto left = count([](const Node& n) {
    return (transposes_by(n.output(), to_first) || transposes_by(n.output(), to_last)) &&
           !ops::is_constant_expression(*n.output());
  });
  decisions.push_back({kName, "graph " + graph.name, true,
                       fmt::format("{} convolutions and poolings with channels last, {} reformat{}", turned, left,
                                   left == 1 ? "" : "s")});
  return {};
}

}  // namespace tenon::passes
