//   q heads -- matmul(tableᵀ) -- gather_elements(index) ----------------------------.
//   k heads -- matmul(tableᵀ) -- gather_elements(index) -- transpose of the scores --+-- sum, scale -- bias of attention
//                                          =>
//   bias of attention = disentangled_bias(q rows, k rows, tables, indices)
//
// The disentangled attention of DeBERTa-v2 and -v3: either summand may be missing, and others may be beside them.
//
// Why:      a product with every row of the table and its gathered copy, [batch, heads, seq, rows] each, are never
//           stored; q and k stay rows, so that they pack and may come of one product.
// Order:    after fuse-attention, whose bias it is; before pack-tokens.
// Declines: a table is computed from inputs; an index from contents, or it may be negative; the summands are of
//           different scales.
#include <algorithm>

#include "ir/pattern.h"
#include "ops/interpret.h"
#include "passes/padding_proof.h"
#include "passes/passes.h"
#include "passes/views.h"

namespace tenon::passes {
namespace {

constexpr int kScoreBias = 8;  // of attention

// One gathered product: scale * rows_h . table[index]_h.
struct Term {
  HeadSource rows;         // those of queries, or of keys
  Value* table = nullptr;  // [heads, n, dim], or `transposed` [heads, dim, n]; an axis of size 1 may stand ahead
  bool transposed = false;
  Value* index = nullptr;  // [.., positions of rows, positions of the others], leading axes of size 1
  double scale = 1;
};
struct Terms {
  std::vector<Term> of_queries, of_keys;
  bool empty() const { return of_queries.empty() && of_keys.empty(); }
};

class TermReader {
 public:
  TermReader(const Node& attention)
      : heads_(attention.attrs().integer("heads")), dim_(attention.attrs().integer("head_dim")) {}

  // Adds the terms whose sum `v` is; false where it is something else. `by_key`: v's last axes are key and query.
  bool read(Value* v, double scale, bool by_key, Terms& terms) const;

 private:
  std::optional<Term> read_gather(const Node& gather) const;
  const int64_t heads_, dim_;
};

bool swaps_last_axes(const Node& node) {
  if (!node.is(Op::k_transpose) || node.output()->rank() < 2) return false;
  const auto& perm = node.attrs().integers("perm");
  const auto last = static_cast<int64_t>(perm.size()) - 1;
  for (int64_t i = 0; i + 1 < last; ++i)
    if (perm[static_cast<size_t>(i)] != i) return false;
  return perm[static_cast<size_t>(last)] == last - 1;
}

// Only leading axes are regrouped: [batch * heads, q, k] and [batch, heads, q, k].
bool keeps_last_axes(const Node& node) {
  const Shape &from = node.input(0)->shape(), &to = node.output()->shape();
  return node.is(Op::k_reshape) && from.size() >= 2 && to.size() >= 2 &&
         std::equal(from.end() - 2, from.end(), to.end() - 2);
}

bool TermReader::read(Value* v, double scale, bool by_key, Terms& terms) const {
  using namespace ir::pattern;
  Node* node = v->producer();
  if (node == nullptr) return false;
  Value* x = nullptr;
  double c = 0;
  if (matches(v, op(Op::k_mul, {any(x), scalar(c)}))) return read(x, scale * c, by_key, terms);
  if (node->is(Op::k_div) && scalar(c)(node->input(1)) && c != 0) return read(node->input(0), scale / c, by_key, terms);
  if (node->is(Op::k_add))
    return read(node->input(0), scale, by_key, terms) && read(node->input(1), scale, by_key, terms);
  if (keeps_last_axes(*node)) return read(node->input(0), scale, by_key, terms);
  if (swaps_last_axes(*node)) return read(node->input(0), scale, !by_key, terms);
  if (!node->is(Op::k_gather_elements)) return false;
  auto term = read_gather(*node);
  if (!term) return false;
  term->scale *= scale;
  (by_key ? terms.of_keys : terms.of_queries).push_back(*term);
  return true;
}

// A table that is repeated for every text, as it was before; `transposed` follows its last two axes.
Value* one_table(Value* v, bool& transposed) {
  while (Node* node = v->producer()) {
    const Shape* repeats = node->is(Op::k_tile) ? &node->attrs().shape("repeats") : nullptr;
    const bool is_tiled = repeats != nullptr && !repeats->empty() &&
                          std::all_of(repeats->begin() + 1, repeats->end(), [](const Dim& d) { return d == Dim(1); });
    const bool is_expanded = node->is(Op::k_expand) && node->input(0)->rank() == v->rank() &&
                             std::equal(v->shape().begin() + 1, v->shape().end(), node->input(0)->shape().begin() + 1);
    if (swaps_last_axes(*node)) {
      transposed = !transposed;
    } else if (!is_tiled && !is_expanded) {
      break;
    }
    v = node->input(0);
  }
  return v;
}

std::optional<Term> TermReader::read_gather(const Node& gather) const {
  const int rank = gather.output()->rank();
  const int64_t axis = gather.attrs().integer("axis");
  if (axis != -1 && axis != rank - 1) return std::nullopt;
  const Node* product = gather.input(0)->producer();
  if (product == nullptr || !product->is(Op::k_matmul) || product->input(1)->producer() == nullptr) return std::nullopt;
  bool transposed = true;
  Value* table = one_table(product->input(1), transposed);
  const auto rows = trace_heads(product->input(0), heads_, dim_, false);
  if (!rows || rows->group != 1 || table->rank() < 3 || table->rank() > 4) return std::nullopt;
  const auto axis_of_table = [&](int from_end) { return table->shape()[static_cast<size_t>(table->rank() - from_end)]; };
  const bool is_shared = table->rank() == 3 || axis_of_table(4) == Dim(1);
  if (!is_shared || axis_of_table(3) != Dim(heads_) || axis_of_table(transposed ? 2 : 1) != Dim(dim_)) return std::nullopt;
  Value* index = gather.input(1);
  while (index->is(Op::k_expand) || (index->is(Op::k_reshape) && keeps_last_axes(*index->producer()))) {
    Value* before = index->producer()->input(0);
    const Shape &one = before->shape(), &all = gather.output()->shape();
    if (one.size() < 2 || !std::equal(one.end() - 2, one.end(), all.end() - 2)) break;
    index = before;
  }
  const Shape& shape = index->shape();
  if (!std::all_of(shape.begin(), shape.end() - 2, [](const Dim& d) { return d == Dim(1); })) return std::nullopt;
  return Term{*rows, table, transposed, index, rows->scale};
}

// The table's rows [n, heads * dim].
Result<Value*> rows_of_table(Rewriter& rw, const Term& term) {
  Value* table = term.table;
  const Shape by_head(table->shape().end() - 3, table->shape().end());
  if (table->rank() != 3) {
    TENON_ASSIGN(table, rw.create(Op::k_reshape, {table}, {{"shape", by_head}}));
  }
  const std::vector<int64_t> perm = term.transposed ? std::vector<int64_t>{2, 0, 1} : std::vector<int64_t>{1, 0, 2};
  TENON_ASSIGN(table, rw.create(Op::k_transpose, {table}, {{"perm", perm}}));
  const Shape& rows = table->shape();
  return rw.create(Op::k_reshape, {table}, {{"shape", Shape{rows[0], rows[1] * rows[2]}}});
}

// Integers of which none can be below 0, as far as that is seen: from constants, positions and clamps.
bool never_negative(const Value* v) {
  if (const Tensor* t = v->constant(); t != nullptr && t->has_data()) {
    for (int64_t i = 0; i < t->numel(); ++i)
      if (t->int_at(i) < 0) return false;
    return true;
  }
  const Node* node = v->producer();
  if (node == nullptr || node->num_inputs() == 0 || is_float(v->dtype())) return false;
  switch (node->op()) {
    case Op::k_max:
      return never_negative(node->input(0)) || never_negative(node->input(1));
    case Op::k_min:
    case Op::k_add:
      return never_negative(node->input(0)) && never_negative(node->input(1));
    case Op::k_cast:
    case Op::k_reshape:
    case Op::k_expand:
    case Op::k_transpose:
    case Op::k_gather:
      return !is_float(node->input(0)->dtype()) && never_negative(node->input(0));
    default:
      return false;
  }
}

// The index as i32 [q_len, k_len].
Result<Value*> index_of(Rewriter& rw, const Term& term, bool by_key) {
  Value* index = term.index;
  const Shape last(index->shape().end() - 2, index->shape().end());
  if (index->rank() != 2) {
    TENON_ASSIGN(index, rw.create(Op::k_reshape, {index}, {{"shape", last}}));
  }
  // Beside a transpose that the model has, so that the two cancel.
  if (by_key) {
    TENON_ASSIGN(index, rw.create(Op::k_transpose, {index}, {{"perm", std::vector<int64_t>{1, 0}}}));
  }
  return rw.create(Op::k_cast, {index}, {{"to", DType::kI32}});
}

Result<bool> match_bias(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_attention) || node.input(kScoreBias) == nullptr || node.input(3) != nullptr) return rw.no_match();
  if (node.attrs().integer("kv_heads") != 0) return rw.no_match();
  Terms terms;
  std::vector<Value*> others;
  for (Value* v : summands_of(node.input(kScoreBias))) {
    Terms found;
    if (!TermReader(node).read(v, 1, false, found)) {
      others.push_back(v);
      continue;
    }
    terms.of_queries.insert(terms.of_queries.end(), found.of_queries.begin(), found.of_queries.end());
    terms.of_keys.insert(terms.of_keys.end(), found.of_keys.begin(), found.of_keys.end());
  }
  if (terms.empty()) return rw.no_match();
  if (terms.of_queries.size() > 1 || terms.of_keys.size() > 1)
    return rw.decline(node, "more than two products are gathered");
  const double scale = terms.of_queries.empty() ? terms.of_keys[0].scale : terms.of_queries[0].scale;
  std::vector<Value*> inputs{node.input(0), node.input(1), nullptr, nullptr, nullptr, nullptr};
  std::vector<int64_t> columns{node.attrs().integers("columns")[0], node.attrs().integers("columns")[1]};
  for (const bool by_key : {false, true}) {
    for (const Term& term : by_key ? terms.of_keys : terms.of_queries) {
      if (term.scale != scale) return rw.decline(node, "its gathered products are of different scales");
      if (!ops::is_constant_expression(*term.table)) return rw.decline(node, "a table is not constant");
      if (!depends_on_shapes_only(term.index)) return rw.decline(node, "an index depends on contents");
      if (!never_negative(term.index)) return rw.decline(node, "an index may count from the end");
      const size_t i = by_key ? 1 : 0;
      inputs[i] = term.rows.rows;
      columns[i] = term.rows.column;
      TENON_ASSIGN(inputs[2 + 2 * i], rows_of_table(rw, term));
      TENON_ASSIGN(inputs[3 + 2 * i], index_of(rw, term, by_key));
    }
  }
  const Attrs& attrs = node.attrs();
  TENON_ASSIGN(Value * bias, rw.create(Op::k_disentangled_bias, inputs,
                                       {{"heads", attrs.integer("heads")},
                                        {"head_dim", attrs.integer("head_dim")},
                                        {"scale", scale},
                                        {"columns", columns}}));
  for (Value* v : others) {
    TENON_ASSIGN(bias, rw.create(Op::k_add, {bias, v}));
  }
  std::vector<Value*> operands(node.inputs().begin(), node.inputs().end());
  operands[kScoreBias] = bias;
  TENON_ASSIGN(Value * fused, rw.create(Op::k_attention, operands, attrs));
  rw.replace(node.output(), fused);
  return rw.changed(*fused->producer(), fmt::format("{} tables", terms.of_queries.size() + terms.of_keys.size()));
}

}  // namespace

Status fuse_disentangled_bias(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-disentangled-bias", {match_bias}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
