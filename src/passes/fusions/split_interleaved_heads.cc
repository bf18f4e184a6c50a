//   x -- linear(W, b) -- [.., heads, parts, dim] -- part i     =>     x -- linear(columns of W, columns of b) -- [..,
//   heads, dim]
//
// as BLOOM interleaves queries, keys and values head by head.
//
// Why:      attention reads heads that stand side by side; so they do when the weights' columns stand in another order,
// and
//           fuse-qkv makes one product of the three again.
// Order:    after fuse-linear, before fuse-attention.
// Declines: the product has other readers.
#include <algorithm>

#include "passes/passes.h"

namespace tenon::passes {
namespace {

// Whether `use` takes one part, by a constant scalar, of axis `axis` of what it reads.
bool takes_part(const ir::Use& use, int axis) {
  const Node& node = *use.node;
  if (!node.is(Op::k_gather) || use.input != 0 || node.input(1)->constant() == nullptr || node.input(1)->rank() != 0)
    return false;
  const int64_t of = node.attrs().integer("axis");
  return of == axis || of == axis - node.input(0)->rank();
}

Result<bool> split(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_gather) || !node.input(0)->is(Op::k_reshape)) return rw.no_match();
  const Value& split = *node.input(0);
  Value* rows = split.producer()->input(0);
  const int rank = split.rank();
  if (rank < 4 || !rows->is(Op::k_linear) || rows->rank() != rank - 2 || !takes_part({&node, 0}, rank - 2))
    return rw.no_match();
  const Shape& shape = split.shape();
  const auto all_but = static_cast<size_t>(rank - 3);
  if (!std::equal(rows->shape().begin(), rows->shape().end() - 1, shape.begin(), shape.begin() + rank - 3))
    return rw.no_match();
  if (!std::all_of(shape.begin() + rank - 3, shape.end(), [](const Dim& d) { return d.is_const(); }))
    return rw.no_match();
  const int64_t heads = shape[all_but].value(), parts = shape[all_but + 1].value(), dim = shape[all_but + 2].value();
  const Node& linear = *rows->producer();
  if (!linear.attrs().text("activation").empty() || linear.input(3) != nullptr) return rw.no_match();
  const bool shared = !rows->has_one_use() || split.is_output() ||
                      !std::ranges::all_of(split.uses(), [&](const ir::Use& use) { return takes_part(use, rank - 2); });
  if (shared) return rw.decline(node, "the product has other readers");

  int64_t part = node.input(1)->constant()->int_at(0);
  if (part < 0) part += parts;
  std::vector<int64_t> columns;
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t d = 0; d < dim; ++d) columns.push_back((h * parts + part) * dim + d);
  Value* chosen = rw.constant(Tensor::ints(columns));
  TENON_ASSIGN(Value * weight, rw.create(Op::k_gather, {linear.input(1), chosen}, {{"axis", int64_t{1}}}));
  Value* bias = linear.input(2);
  if (bias != nullptr) {
    TENON_ASSIGN(bias, rw.create(Op::k_gather, {bias, chosen}, {{"axis", int64_t{0}}}));
  }
  TENON_ASSIGN(Value * made, rw.create(Op::k_linear, {linear.input(0), weight, bias}, linear.attrs()));
  rw.absorb_origin(made->producer(), &linear);
  TENON_ASSIGN(Value * y, rw.create(Op::k_reshape, {made}, {{"shape", node.output()->shape()}}));
  rw.replace(node.output(), y);
  return rw.changed(*made->producer(), fmt::format("part {} of {}, {} heads of {}", part, parts, heads, dim));
}

}  // namespace

Status split_interleaved_heads(Graph& graph, Decisions& decisions) {
  return apply_rules(graph, "split-interleaved-heads", {split}, decisions);
}

}  // namespace tenon::passes
