// Rotary position embedding, from heads to rows:
//
//   rows -> heads h;  h * cos + concat(-h[D/2:], h[:D/2]) * sin      =>   (rows * C + gather(rows, swapped halves) * S)
//   -> heads
//
// C and S are the tables [batch|1, seq, D] repeated for every head; S takes the sign. (Su et al., "RoFormer", 2021.)
//
// Why:      heads become views of rows again, which is what attention reads; one program does the arithmetic; and rows
// of
//           tokens are what padding removal keeps.
// Order:    after fuse-linear and simplify-layout, before fuse-attention.
// Declines: what is rotated is not heads of rows; tables differ between heads.
#include "ir/pattern.h"
#include "passes/passes.h"
#include "passes/views.h"

namespace tenon::passes {
namespace {

using namespace ir::pattern;

// x, when `v` is columns [from, to) of its last axis.
Value* sliced_columns(Value* v, int64_t from, int64_t to) {
  if (!v->is(Op::k_slice)) return nullptr;
  const Node& slice = *v->producer();
  const auto& axes = slice.attrs().integers("axes");
  const bool whole = axes.size() == 1 && axes[0] == v->rank() - 1 && slice.attrs().integers("steps")[0] == 1;
  return whole && slice.attrs().shape("starts")[0] == Dim(from) && slice.attrs().shape("ends")[0] == Dim(to)
             ? slice.input(0)
             : nullptr;
}

// x, when `v` is concat(-x[D/2:], x[:D/2]) over the last axis.
Value* half_turned(Value* v) {
  if (!v->is(Op::k_concat) || v->producer()->num_inputs() != 2 || !v->shape().back().is_const()) return nullptr;
  const int64_t axis = v->producer()->attrs().integer("axis"), width = v->shape().back().value();
  if ((axis != -1 && axis != v->rank() - 1) || width % 2 != 0) return nullptr;
  Value *negated = v->producer()->input(0), *first = v->producer()->input(1), *second = nullptr;
  if (!matches(negated, op(Op::k_neg, {any(second)}))) return nullptr;
  Value* x = sliced_columns(first, 0, width / 2);
  return x != nullptr && x == sliced_columns(second, width / 2, width) ? x : nullptr;
}

struct Rotation {
  Value *x = nullptr, *cosines = nullptr, *sines = nullptr;
};

std::optional<Rotation> find_rotation(const Node& sum) {
  for (int i : {0, 1}) {
    const Node *plain = sum.input(i)->producer(), *turned = sum.input(1 - i)->producer();
    if (plain == nullptr || turned == nullptr || !plain->is(Op::k_mul) || !turned->is(Op::k_mul)) continue;
    for (int j : {0, 1}) {
      Value* x = half_turned(turned->input(j));
      for (int k : {0, 1})
        if (x != nullptr && plain->input(k) == x) return Rotation{x, plain->input(1 - k), turned->input(1 - j)};
    }
  }
  return std::nullopt;
}

// A table over [batch|1, seq, dim] that every head reads; null when it is something else.
Result<Value*> as_table(Rewriter& rw, Value* v, const Value& heads) {
  if (v->rank() < 2 || v->rank() > 4 || v->shape().back() != heads.shape()[3]) return nullptr;
  const Shape& shape = v->shape();
  const Dim &seq = shape[shape.size() - 2], per_head = shape.size() >= 3 ? shape[shape.size() - 3] : Dim(1);
  const Dim batch = shape.size() == 4 ? shape[0] : Dim(1);
  if (seq != heads.shape()[2] || per_head != Dim(1) || (batch != Dim(1) && batch != heads.shape()[0])) return nullptr;
  return rw.create(Op::k_reshape, {v}, {{"shape", Shape{batch, seq, shape.back()}}});
}

Result<bool> match_rotary(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_add) || node.output()->rank() != 4) return rw.no_match();
  const auto found = find_rotation(node);
  if (!found || found->x->shape() != node.output()->shape()) return rw.no_match();
  const Shape& shape = found->x->shape();
  if (!shape[1].is_const() || !shape[3].is_const()) return rw.decline(node, "the number of heads is not constant");
  const int64_t heads = shape[1].value(), dim = shape[3].value(), width = heads * dim;
  const auto source = trace_heads(found->x, heads, dim, false);
  if (!source || source->scale != 1 || source->group != 1)
    return rw.decline(node, "what is rotated is not heads of rows [batch, seq, heads * dim]");
  TENON_ASSIGN(Value * cosines, as_table(rw, found->cosines, *found->x));
  TENON_ASSIGN(Value * sines, as_table(rw, found->sines, *found->x));
  if (cosines == nullptr || sines == nullptr) return rw.decline(node, "the tables are not [batch, seq, dim]");

  std::vector<float> signs(static_cast<size_t>(dim), 1.0f);
  std::fill_n(signs.begin(), dim / 2, -1.0f);
  std::vector<int64_t> swapped;
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t d = 0; d < dim; ++d) swapped.push_back(source->column + h * dim + (d + dim / 2) % dim);
  Value* rows = source->rows;
  if (rows->shape()[2] != Dim(width)) {
    TENON_ASSIGN(rows, rw.create(Op::k_slice, {rows},
                                 {{"axes", std::vector<int64_t>{2}},
                                  {"starts", Shape{Dim(source->column)}},
                                  {"ends", Shape{Dim(source->column + width)}},
                                  {"steps", std::vector<int64_t>{1}}}));
  }
  TENON_ASSIGN(Value * turned,
               rw.create(Op::k_gather, {source->rows, rw.constant(Tensor::ints(swapped))}, {{"axis", int64_t{2}}}));
  TENON_ASSIGN(sines, rw.create(Op::k_mul, {sines, rw.constant(Tensor::from(DType::kF32, {dim}, signs))}));
  for (Value** table : {&cosines, &sines}) {
    TENON_ASSIGN(*table, rw.create(Op::k_tile, {*table}, {{"repeats", Shape{Dim(1), Dim(1), Dim(heads)}}}));
  }
  TENON_ASSIGN(Value * straight, rw.create(Op::k_mul, {rows, cosines}));
  TENON_ASSIGN(Value * crossed, rw.create(Op::k_mul, {turned, sines}));
  TENON_ASSIGN(Value * rotated, rw.create(Op::k_add, {straight, crossed}));
  TENON_ASSIGN(Value * split,
               rw.create(Op::k_reshape, {rotated}, {{"shape", Shape{shape[0], shape[2], shape[1], shape[3]}}}));
  TENON_ASSIGN(Value * swapped_axes, rw.create(Op::k_transpose, {split}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}));
  rw.replace(node.output(), swapped_axes);
  return rw.changed(*rotated->producer(), fmt::format("{} heads of {}", heads, dim));
}

}  // namespace

Status fuse_rotary(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-rotary", {match_rotary}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
