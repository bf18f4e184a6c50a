//   x -- linear(Wq, bq) -- q --.
//   x -- linear(Wk, bk) -- k --+-- attention    =>    x -- linear([Wq Wk Wv], [bq bk bv]) -- attention {columns}
//   x -- linear(Wv, bv) -- v --'
//
// and where positions rotate q and k (fuse-rotary), whether the model merged the three itself or not:
//
//   x -- linear(Wq) -- q -- q * Cq + gather(q, halves swapped) * Sq --.
//   x -- linear(Wk) -- k -- k * Ck + gather(k, halves swapped) * Sk --+-- attention
//   x -- linear(Wv) -- v ---------------------------------------------'
//   =>
//   x -- linear([Wq Wk Wv]) -- rows -- rows[q k] * [Cq Ck] + gather(rows, swapped) * [Sq Sk] --.
//                                '-------------------------------------------------------------+-- attention {columns}
//
// Why:      x is read once and one wide product runs nearer to the peak than three narrow ones; q and k are rotated at
//           once. Attention reads its columns in place, so nothing is split afterwards.
// Order:    after the exact rewrites, which change the three weights apart.
// Declines: the projections read different inputs (two of three may still merge), or have other readers; q and k are
//           not rotated alike.
#include <algorithm>

#include "passes/passes.h"

namespace tenon::passes {
namespace {

// A linear and nothing more, of x if that is given, read by `uses` inputs.
bool is_plain_linear(const Value& v, size_t uses, const Value* x) {
  if (!v.is(Op::k_linear) || v.uses().size() != uses || v.is_output() || !v.shape().back().is_const()) return false;
  const Node& linear = *v.producer();
  const bool is_plain = linear.attrs().text("activation").empty() && linear.input(3) == nullptr;
  return is_plain && (x == nullptr || linear.input(0) == x);
}

// One linear of what `parts`, linears of one input, compute side by side.
Result<Value*> merge_linears(Rewriter& rw, const std::vector<Value*>& parts) {
  std::vector<Value*> weights, biases;
  const bool any_bias = std::ranges::any_of(parts, [](Value* v) { return v->producer()->input(2) != nullptr; });
  for (Value* part : parts) {
    const Node& linear = *part->producer();
    const int64_t width = part->shape().back().value();
    weights.push_back(linear.input(1));
    Value* bias = linear.input(2);
    if (bias == nullptr && any_bias) {
      bias = rw.constant(Tensor::from(DType::kF32, {width}, std::vector<float>(static_cast<size_t>(width))));
    }
    biases.push_back(bias);
  }
  TENON_ASSIGN(Value * weight, rw.create(Op::k_concat, weights, {{"axis", int64_t{1}}}));
  Value* bias = nullptr;
  if (any_bias) {
    TENON_ASSIGN(bias, rw.create(Op::k_concat, biases, {{"axis", int64_t{0}}}));
  }
  const ir::Attrs& attrs = parts[0]->producer()->attrs();
  const bool alike = std::ranges::all_of(parts, [&](Value* v) { return v->producer()->attrs() == attrs; });
  TENON_ASSIGN(Value * merged, rw.create(Op::k_linear, {parts[0]->producer()->input(0), weight, bias}, alike ? attrs : ir::Attrs{}));
  for (Value* part : parts) rw.absorb_origin(merged->producer(), part->producer());
  return merged;
}

// The attention's bias where that reads q and k too, and nobody else reads it.
Node* bias_of_rows(const Node& attention) {
  Value* bias = attention.input(8);
  return bias != nullptr && bias->is(Op::k_disentangled_bias) && bias->has_one_use() ? bias->producer() : nullptr;
}

// Whether the bias reads the rows that are operand `i` of the attention.
bool shares_rows(const Node& attention, const Node* bias, int i) {
  return bias != nullptr && i < 2 && bias->input(i) == attention.input(i);
}

bool is_mergeable(const Node& attention, int i) {
  const auto at = static_cast<size_t>(i);
  const Node* bias = bias_of_rows(attention);
  const bool is_shared = shares_rows(attention, bias, i);
  const bool is_whole = attention.attrs().integers("columns")[at] == 0 && (!is_shared || bias->attrs().integers("columns")[at] == 0);
  return is_whole && is_plain_linear(*attention.input(i), is_shared ? 2 : 1, nullptr);
}

// The attention's bias when those of its operands that were `moved` stand at `columns` of `rows`.
Result<Value*> move_bias(Rewriter& rw, const Node& attention, const Node& bias, const std::vector<int>& moved, Value* rows,
                         const std::vector<int64_t>& columns) {
  std::vector<Value*> inputs(bias.inputs().begin(), bias.inputs().end());
  Attrs attrs = bias.attrs();
  std::vector<int64_t> own = attrs.integers("columns");
  for (const int i : moved) {
    if (!shares_rows(attention, &bias, i)) continue;
    inputs[static_cast<size_t>(i)] = rows;
    own[static_cast<size_t>(i)] = columns[static_cast<size_t>(i)];
  }
  attrs.set("columns", own);
  TENON_ASSIGN(Value * result, rw.create(Op::k_disentangled_bias, inputs, attrs));
  rw.absorb_origin(result->producer(), &bias);
  return result;
}

Result<bool> merge_projections(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_attention)) return rw.no_match();
  std::vector<int> merged;
  for (int i : {0, 1, 2})
    if (is_mergeable(node, i)) merged.push_back(i);
  // All that read the input of the last one: v and k share their input in every attention.
  if (merged.size() < 2) return rw.no_match();
  Value* x = node.input(merged.back())->producer()->input(0);
  std::erase_if(merged, [&](int i) { return node.input(i)->producer()->input(0) != x; });
  if (merged.size() < 2) return rw.decline(node, "q, k and v project different inputs");

  std::vector<Value*> parts;
  auto columns = node.attrs().integers("columns");
  int64_t column = 0;
  for (int i : merged) {
    parts.push_back(node.input(i));
    columns[static_cast<size_t>(i)] = column;
    column += node.input(i)->shape().back().value();
  }
  TENON_ASSIGN(Value * rows, merge_linears(rw, parts));
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  for (int i : merged) inputs[static_cast<size_t>(i)] = rows;
  if (const Node* bias = bias_of_rows(node)) {
    TENON_ASSIGN(inputs[8], move_bias(rw, node, *bias, merged, rows, columns));
  }
  Attrs attrs = node.attrs();
  attrs.set("columns", columns);
  TENON_ASSIGN(Value * fused, rw.create(Op::k_attention, inputs, attrs));
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), merged.size() == 3 ? "q, k and v" : "two of q, k and v");
}

// rows[column : column + width] * cosines + gather(rows, swapped) * sines
struct RotatedRows {
  Value *rows = nullptr, *cosines = nullptr, *sines = nullptr;
  int64_t column = 0, width = 0;
  std::vector<int64_t> swapped;  // columns of rows
};

bool is_last_axis(int64_t axis, const Value& v) { return axis == -1 || axis == v.rank() - 1; }

// Columns of `rows` that `v` is, from the returned one on; -1: it is not.
int64_t column_in(const Value& v, const Value& rows) {
  if (&v == &rows) return 0;
  if (!v.is(Op::k_slice) || v.producer()->input(0) != &rows) return -1;
  const Attrs& slice = v.producer()->attrs();
  const auto& axes = slice.integers("axes");
  const bool plain = axes.size() == 1 && is_last_axis(axes[0], rows) && slice.integers("steps")[0] == 1;
  return plain && slice.shape("starts")[0].is_const() ? slice.shape("starts")[0].value() : -1;
}

std::optional<RotatedRows> find_rotated_rows(const Value& v) {
  if (!v.is(Op::k_add) || !v.has_one_use() || !v.shape().back().is_const()) return std::nullopt;
  for (const int i : {0, 1}) {
    const Value *plain = v.producer()->input(i), *turned = v.producer()->input(1 - i);
    if (!plain->is(Op::k_mul) || !turned->is(Op::k_mul)) continue;
    for (const int j : {0, 1}) {
      const Value* gathered = turned->producer()->input(j);
      if (!gathered->is(Op::k_gather)) continue;
      if (!is_last_axis(gathered->producer()->attrs().integer("axis"), *gathered)) continue;
      const Tensor* swapped = gathered->producer()->input(1)->constant();
      if (swapped == nullptr || swapped->shape().size() != 1) continue;
      Value* rows = gathered->producer()->input(0);
      for (const int k : {0, 1}) {
        const int64_t column = column_in(*plain->producer()->input(k), *rows), width = v.shape().back().value();
        if (column < 0 || plain->producer()->input(k)->shape() != v.shape() || gathered->shape() != v.shape()) continue;
        RotatedRows found{rows, plain->producer()->input(1 - k), turned->producer()->input(1 - j), column, width, {}};
        for (int64_t c = 0; c < width; ++c) found.swapped.push_back(swapped->int_at(c));
        return found;
      }
    }
  }
  return std::nullopt;
}

// Tables that stand side by side: of the same rows, as wide as what they are for.
bool are_alike(const Value& a, int64_t a_width, const Value& b, int64_t b_width) {
  if (a.rank() != b.rank() || a.rank() == 0) return false;
  return a.shape().back() == Dim(a_width) && b.shape().back() == Dim(b_width) &&
         std::equal(a.shape().begin(), a.shape().end() - 1, b.shape().begin());
}

Result<bool> merge_rotations(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_attention)) return rw.no_match();
  auto columns = node.attrs().integers("columns");
  auto q = find_rotated_rows(*node.input(0)), k = find_rotated_rows(*node.input(1));
  if (!q || !k || columns[0] != 0 || columns[1] != 0) return rw.no_match();
  const bool alike = are_alike(*q->cosines, q->width, *k->cosines, k->width);
  if (!alike || !are_alike(*q->sines, q->width, *k->sines, k->width)) {
    return rw.decline(node, "q and k are rotated by tables of different forms");
  }
  std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
  Value* rows = q->rows;
  std::string what = "one rotation of q and k";
  if (q->rows == k->rows) {
    if (k->column != q->column + q->width) return rw.decline(node, "q and k do not follow each other in their rows");
  } else {
    if (q->rows->shape().back() != Dim(q->width) || k->rows->shape().back() != Dim(k->width)) {
      return rw.decline(node, "q and k are columns of different rows");
    }
    if (!is_plain_linear(*q->rows, 2, nullptr)) return rw.decline(node, "q has other readers, or is no plain product");
    Value* x = q->rows->producer()->input(0);
    if (!is_plain_linear(*k->rows, 2, x)) return rw.decline(node, "k has other readers, or is no product of what q is");
    std::vector<Value*> parts = {q->rows, k->rows};
    if (columns[2] == 0 && is_plain_linear(*node.input(2), 1, x)) parts.push_back(node.input(2));
    TENON_ASSIGN(rows, merge_linears(rw, parts));
    k->column = q->width;
    for (int64_t& c : k->swapped) c += q->width;
    if (parts.size() == 3) {
      inputs[2] = rows;
      columns[2] = q->width + k->width;
    }
    what += parts.size() == 3 ? ", in one product with v" : ", in one product";
  }
  const int64_t axis = rows->rank() - 1, width = q->width + k->width;
  Value* plain = rows;
  if (rows->shape().back() != Dim(width)) {
    TENON_ASSIGN(plain, rw.create(Op::k_slice, {rows},
                                  {{"axes", std::vector<int64_t>{axis}},
                                   {"starts", Shape{Dim(q->column)}},
                                   {"ends", Shape{Dim(q->column + width)}},
                                   {"steps", std::vector<int64_t>{1}}}));
  }
  std::vector<int64_t> swapped = q->swapped;
  swapped.insert(swapped.end(), k->swapped.begin(), k->swapped.end());
  TENON_ASSIGN(Value * turned, rw.create(Op::k_gather, {rows, rw.constant(Tensor::ints(swapped))}, {{"axis", axis}}));
  TENON_ASSIGN(Value * cosines, rw.create(Op::k_concat, {q->cosines, k->cosines}, {{"axis", int64_t{-1}}}));
  TENON_ASSIGN(Value * sines, rw.create(Op::k_concat, {q->sines, k->sines}, {{"axis", int64_t{-1}}}));
  TENON_ASSIGN(Value * straight, rw.create(Op::k_mul, {plain, cosines}));
  TENON_ASSIGN(Value * crossed, rw.create(Op::k_mul, {turned, sines}));
  TENON_ASSIGN(Value * rotated, rw.create(Op::k_add, {straight, crossed}));
  rw.absorb_origin(rotated->producer(), node.input(0)->producer());
  rw.absorb_origin(rotated->producer(), node.input(1)->producer());
  inputs[0] = inputs[1] = rotated;
  columns[1] = q->width;
  Attrs attrs = node.attrs();
  attrs.set("columns", columns);
  TENON_ASSIGN(Value * fused, rw.create(Op::k_attention, inputs, attrs));
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), what);
}

}  // namespace

Status fuse_qkv(Graph& graph, Decisions& decisions) {
  return apply_rules(graph, "fuse-qkv", {merge_projections, merge_rotations}, decisions);
}

}  // namespace tenon::passes
