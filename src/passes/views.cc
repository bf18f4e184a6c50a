#include "passes/views.h"

#include <algorithm>

#include "ir/pattern.h"

namespace tenon::passes {
namespace {

// Factors b, s, h, d of per-head tensors, and how often each head is repeated.
enum { kBatch, kSeq, kHeads, kDim, kGroup };

bool is_view(const Node& node) { return node.is(Op::k_reshape) || node.is(Op::k_transpose); }

// A product or quotient with a scalar, which may stand anywhere in a chain of views.
std::optional<double> scalar_factor(const Node& node, Value*& x) {
  using namespace ir::pattern;
  double c = 0;
  if (node.is(Op::k_mul) && matches(node.output(), op(Op::k_mul, {any(x), scalar(c)})) && x->shape() == node.output()->shape()) return c;
  if (node.is(Op::k_div) && scalar(c)(node.input(1)) && c != 0 && node.input(0)->shape() == node.output()->shape()) {
    x = node.input(0);
    return 1 / c;
  }
  return std::nullopt;
}

// What `node` repeats one axis of size 1 by, and which; nothing when it is no such expansion.
std::optional<std::pair<size_t, int64_t>> repetition(const Node& node) {
  if (!node.is(Op::k_expand) || node.input(0)->rank() != node.output()->rank()) return std::nullopt;
  std::optional<std::pair<size_t, int64_t>> found;
  const Shape &from = node.input(0)->shape(), &to = node.output()->shape();
  for (size_t i = 0; i < to.size(); ++i) {
    if (from[i] == to[i]) continue;
    if (found || from[i] != Dim(1) || !to[i].is_const()) return std::nullopt;
    found = {i, to[i].value()};
  }
  return found;
}

// Walks up through views and scalar factors, and through repetitions where asked; `chain` gets the nodes, source first.
Value* walk_up(Value* v, std::vector<const Node*>& chain, double& scale, bool through_repetitions = false) {
  while (Node* node = v->producer()) {
    Value* x = nullptr;
    if (is_view(*node) || (through_repetitions && repetition(*node))) {
      chain.push_back(node);
      v = node->input(0);
    } else if (const auto factor = scalar_factor(*node, x)) {
      scale *= *factor;
      v = x;
    } else {
      break;
    }
  }
  std::reverse(chain.begin(), chain.end());
  return v;
}

}  // namespace

Grouping without_units(const Grouping& axes, const std::vector<Dim>& sizes) {
  Grouping out = axes;
  for (auto& axis : out) std::erase_if(axis, [&](int f) { return sizes[static_cast<size_t>(f)] == Dim(1); });
  return out;
}

std::optional<Factors> apply_view(const Factors& before, const Node& node) {
  Factors after{before.sizes, {}};
  if (node.is(Op::k_transpose)) {
    for (int64_t p : node.attrs().integers("perm")) after.axes.push_back(before.axes[static_cast<size_t>(p)]);
    return after;
  }
  std::vector<int> flat;
  for (const auto& axis : before.axes) flat.insert(flat.end(), axis.begin(), axis.end());
  size_t next = 0;
  for (const Dim& size : node.output()->shape()) {
    std::vector<int> axis;
    Dim product(1);
    while (product != size) {
      if (next == flat.size()) return std::nullopt;
      product = product * before.sizes[static_cast<size_t>(flat[next])];
      axis.push_back(flat[next++]);
      if (!size.exact_div(product)) return std::nullopt;
    }
    after.axes.push_back(std::move(axis));
  }
  if (next != flat.size()) return std::nullopt;
  return after;
}

std::optional<int64_t> source_width(Value* v) {
  std::vector<const Node*> chain;
  double scale = 1;
  Value* source = walk_up(v, chain, scale);
  if (source->rank() == 0 || !source->shape().back().is_const()) return std::nullopt;
  return source->shape().back().value();
}

std::optional<HeadSource> trace_heads(Value* v, int64_t heads, int64_t dim, bool transposed) {
  std::vector<const Node*> chain;
  HeadSource found;
  Value* source = walk_up(v, chain, found.scale, true);
  for (const Node* node : chain)
    if (const auto repeated = repetition(*node)) found.group *= repeated->second;
  if (found.group < 1 || heads % found.group != 0) return std::nullopt;
  heads /= found.group;
  // Start from the first value of the chain that has rows of heads * dim columns: what is above it is the caller's.
  if (source->rank() != 3 || source->shape()[2] != Dim(heads * dim)) {
    auto it = std::find_if(chain.begin(), chain.end(), [&](const Node* n) {
      return n->output()->rank() == 3 && n->output()->shape()[2] == Dim(heads * dim);
    });
    if (it == chain.end()) return std::nullopt;
    source = (*it)->output();
    chain.erase(chain.begin(), it + 1);
  }
  const Shape& rows = source->shape();
  Factors factors{{rows[0], rows[1], Dim(heads), Dim(dim), Dim(found.group)}, {}};
  factors.axes = without_units({{kBatch}, {kSeq}, {kHeads, kDim}}, factors.sizes);
  for (const Node* node : chain) {
    if (const auto repeated = repetition(*node)) {
      if (repeated->second != found.group) return std::nullopt;
      factors.axes[repeated->first] = {kGroup};
      continue;
    }
    auto next = apply_view(factors, *node);
    if (!next) return std::nullopt;
    factors = std::move(*next);
  }
  Grouping expected = v->rank() == 4 ? Grouping{{kBatch}, {kHeads, kGroup}, {kSeq}, {kDim}} : Grouping{{kBatch, kHeads, kGroup}, {kSeq}, {kDim}};
  if (transposed) std::swap(expected[expected.size() - 1], expected[expected.size() - 2]);
  if (factors.axes != without_units(expected, factors.sizes)) return std::nullopt;
  found.rows = source;
  // Columns cut out of a wider product (a merged q, k, v) are read in place.
  if (const Node* slice = source->producer(); slice != nullptr && slice->is(Op::k_slice)) {
    const auto& axes = slice->attrs().integers("axes");
    const Dim& start = slice->attrs().shape("starts")[0];
    if (axes.size() == 1 && axes[0] == 2 && slice->attrs().integers("steps")[0] == 1 && start.is_const()) {
      found.rows = slice->input(0);
      found.column = start.value();
    }
  }
  return found;
}

MergedHeads find_merged_heads(Value* context, const Dim& batch, const Dim& heads, const Dim& seq, const Dim& dim) {
  Factors factors{{batch, seq, heads, dim}, {}};
  factors.axes = without_units(context->rank() == 4 ? Grouping{{kBatch}, {kHeads}, {kSeq}, {kDim}} : Grouping{{kBatch, kHeads}, {kSeq}, {kDim}},
                               factors.sizes);
  const auto is_grouped = [&](const Grouping& expected) { return factors.axes == without_units(expected, factors.sizes); };
  MergedHeads found;
  for (Value* v = context; v->has_one_use() && is_view(*v->uses()[0].node);) {
    const Node& view = *v->uses()[0].node;
    auto next = apply_view(factors, view);
    if (!next) break;
    factors = std::move(*next);
    v = view.output();
    if (v->rank() < 2 || v->shape().back() != heads * dim) continue;
    if (is_grouped({{kBatch}, {kSeq}, {kHeads, kDim}}) || is_grouped({{kBatch, kSeq}, {kHeads, kDim}})) {
      found = {v, false};
    } else if (is_grouped({{kSeq}, {kBatch}, {kHeads, kDim}}) || is_grouped({{kSeq, kBatch}, {kHeads, kDim}})) {
      found = {v, true};
    }
  }
  return found;
}

std::optional<ColumnBlock> trace_column_block(const Node& node) {
  size_t axis = 0;
  int64_t position = 0;
  if (node.is(Op::k_gather)) {
    const Tensor* index = node.input(1)->constant();
    if (index == nullptr || index->numel() != 1 || !index->has_data()) return std::nullopt;
    axis = static_cast<size_t>(node.attrs().integer("axis") + (node.attrs().integer("axis") < 0 ? node.input(0)->rank() : 0));
    position = index->int_at(0);
  } else {
    if (!node.is(Op::k_slice) || node.attrs().integers("axes").size() != 1 || !node.attrs().shape("starts")[0].is_const()) return std::nullopt;
    axis = static_cast<size_t>(node.attrs().integers("axes")[0]);
    position = node.attrs().shape("starts")[0].value();
    if (node.output()->shape()[axis] != Dim(1)) return std::nullopt;
  }
  const Value* v = node.input(0);
  if (!v->shape()[axis].is_const()) return std::nullopt;
  const int64_t parts = v->shape()[axis].value();
  std::vector<const Node*> chain;
  double scale = 1;
  Value* source = walk_up(node.input(0), chain, scale);
  if (scale != 1 || chain.empty() || source->rank() != 3 || !source->shape()[2].is_const() || parts < 2 || source->shape()[2].value() % parts != 0) return std::nullopt;
  const int64_t width = source->shape()[2].value() / parts;
  // The block's columns may be split into heads.
  const Dim& last = v->shape().back();
  const bool has_heads = last.is_const() && last.value() > 0 && width % last.value() == 0;
  for (const int64_t dim : {has_heads ? last.value() : width, width}) {
    enum { kFirst, kSecond, kPart, kHead, kColumn };
    Factors factors{{source->shape()[0], source->shape()[1], Dim(parts), Dim(width / dim), Dim(dim)}, {}};
    factors.axes = without_units({{kFirst}, {kSecond}, {kPart, kHead, kColumn}}, factors.sizes);
    bool followed = true;
    for (const Node* view : chain) {
      auto next = apply_view(factors, *view);
      followed = next.has_value();
      if (!followed) break;
      factors = std::move(*next);
    }
    if (!followed || factors.axes[axis] != std::vector<int>{kPart}) continue;
    ColumnBlock block{source, (position < 0 ? position + parts : position) * width, width, dim, {}};
    // Axes of size 1 hold no factor: they go where they were.
    std::vector<bool> placed(4, false);
    for (size_t i = 0; i < factors.axes.size(); ++i) {
      if (i == axis) continue;
      for (int f : factors.axes[i]) {
        const int64_t source_axis = f > kPart ? f - 1 : f;
        block.order.push_back(source_axis);
        placed[static_cast<size_t>(source_axis)] = true;
      }
    }
    for (int64_t unit : {3, 2, 1, 0})
      if (!placed[static_cast<size_t>(unit)]) block.order.insert(block.order.begin(), unit);
    return block;
  }
  return std::nullopt;
}

}  // namespace tenon::passes
