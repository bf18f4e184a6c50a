#include "passes/views.h"

#include <algorithm>

#include "ir/pattern.h"

namespace tenon::passes {
namespace {

// Factors b, s, h, d of per-head tensors.
enum { kBatch, kSeq, kHeads, kDim };

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

// Walks up through views and scalar factors; `chain` gets the views, source first.
Value* walk_up(Value* v, std::vector<const Node*>& chain, double& scale) {
  while (Node* node = v->producer()) {
    Value* x = nullptr;
    if (is_view(*node)) {
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
  Value* source = walk_up(v, chain, found.scale);
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
  Factors factors{{rows[0], rows[1], Dim(heads), Dim(dim)}, {}};
  factors.axes = without_units({{kBatch}, {kSeq}, {kHeads, kDim}}, factors.sizes);
  for (const Node* node : chain) {
    auto next = apply_view(factors, *node);
    if (!next) return std::nullopt;
    factors = std::move(*next);
  }
  Grouping expected = v->rank() == 4 ? Grouping{{kBatch}, {kHeads}, {kSeq}, {kDim}} : Grouping{{kBatch, kHeads}, {kSeq}, {kDim}};
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

std::optional<ColumnBlock> trace_column_block(const Node& gather) {
  const Tensor* index = gather.input(1)->constant();
  if (!gather.is(Op::k_gather) || index == nullptr || index->numel() != 1 || !index->has_data()) return std::nullopt;
  const Value* v = gather.input(0);
  const auto axis = static_cast<size_t>(gather.attrs().integer("axis") + (gather.attrs().integer("axis") < 0 ? v->rank() : 0));
  if (!v->shape()[axis].is_const()) return std::nullopt;
  const int64_t parts = v->shape()[axis].value();
  std::vector<const Node*> chain;
  double scale = 1;
  Value* source = walk_up(gather.input(0), chain, scale);
  if (scale != 1 || chain.empty() || source->rank() != 3 || !source->shape()[2].is_const() || parts < 2 || source->shape()[2].value() % parts != 0) return std::nullopt;
  const int64_t width = source->shape()[2].value() / parts;
  enum { kFirst, kSecond, kPart, kWidth };
  Factors factors{{source->shape()[0], source->shape()[1], Dim(parts), Dim(width)}, {}};
  factors.axes = without_units({{kFirst}, {kSecond}, {kPart, kWidth}}, factors.sizes);
  for (const Node* node : chain) {
    auto next = apply_view(factors, *node);
    if (!next) return std::nullopt;
    factors = std::move(*next);
  }
  if (factors.axes[axis] != std::vector<int>{kPart}) return std::nullopt;
  ColumnBlock block{source, 0, width, {}};
  const int64_t position = index->int_at(0);
  block.begin = (position < 0 ? position + parts : position) * width;
  // Axes of size 1 hold no factor: they go where they were.
  std::vector<bool> placed(3, false);
  for (size_t i = 0; i < factors.axes.size(); ++i) {
    if (i == axis) continue;
    if (factors.axes[i].size() > 1) return std::nullopt;
    for (int f : factors.axes[i]) {
      const int64_t source_axis = f == kWidth ? 2 : f;
      block.order.push_back(source_axis);
      placed[static_cast<size_t>(source_axis)] = true;
    }
  }
  for (int64_t a : {2, 1, 0})
    if (!placed[static_cast<size_t>(a)]) block.order.insert(block.order.begin(), a);
  return block;
}

}  // namespace tenon::passes
