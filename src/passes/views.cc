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

Value* find_merged_heads(Value* context, const Dim& batch, const Dim& heads, const Dim& seq, const Dim& dim) {
  Factors factors{{batch, seq, heads, dim}, {}};
  factors.axes = without_units(context->rank() == 4 ? Grouping{{kBatch}, {kHeads}, {kSeq}, {kDim}} : Grouping{{kBatch, kHeads}, {kSeq}, {kDim}},
                               factors.sizes);
  const Grouping rank3 = without_units({{kBatch}, {kSeq}, {kHeads, kDim}}, factors.sizes);
  const Grouping rank2 = without_units({{kBatch, kSeq}, {kHeads, kDim}}, factors.sizes);
  Value* found = nullptr;
  for (Value* v = context; v->has_one_use() && is_view(*v->uses()[0].node);) {
    const Node& view = *v->uses()[0].node;
    auto next = apply_view(factors, view);
    if (!next) break;
    factors = std::move(*next);
    v = view.output();
    const bool whole_rows = v->rank() >= 2 && v->shape().back() == heads * dim;
    if (whole_rows && ((v->rank() == 3 && factors.axes == rank3) || (v->rank() == 2 && factors.axes == rank2))) found = v;
  }
  return found;
}

}  // namespace tenon::passes
