// Rotary position embedding, from heads to rows:
//
//   rows -> heads h;  h * cos + concat(-h[D/2:], h[:D/2]) * sin   =>   (rows * C + gather(rows, partners) * S) -> heads
//
// Also with partners side by side, stack(-h[1::2], h[::2]), and with heads that were scaled or normalised first.
// C and S are the tables [batch|1, seq, D] repeated for every head; S takes the sign. (Su et al., "RoFormer", 2021.)
//
// Why:      heads become views of rows again, which is what attention reads; one program does the arithmetic; and
//           padding removal keeps rows of tokens.
// Order:    after fuse-linear and simplify-layout, before fuse-attention.
// Declines: what is rotated is neither heads of rows nor made of values [batch, seq, heads, dim], as heads are that
//           were normalised each for itself; tables differ between heads.
#include "ir/pattern.h"
#include "passes/passes.h"
#include "passes/views.h"

namespace tenon::passes {
namespace {

using namespace ir::pattern;

// x, when `v` is columns from, from + step, … below `to` of its last axis.
Value* sliced_columns(Value* v, int64_t from, int64_t to, int64_t step) {
  if (!v->is(Op::k_slice)) return nullptr;
  const Node& slice = *v->producer();
  const auto& axes = slice.attrs().integers("axes");
  const bool whole = axes.size() == 1 && axes[0] == v->rank() - 1 && slice.attrs().integers("steps")[0] == step;
  return whole && slice.attrs().shape("starts")[0] == Dim(from) && slice.attrs().shape("ends")[0] == Dim(to)
             ? slice.input(0)
             : nullptr;
}

// The two values that `v` joins along its last axis.
std::optional<std::pair<Value*, Value*>> joined(Value* v) {
  if (!v->is(Op::k_concat) || v->producer()->num_inputs() != 2) return std::nullopt;
  const int64_t axis = v->producer()->attrs().integer("axis");
  if (axis != -1 && axis != v->rank() - 1) return std::nullopt;
  return std::pair(v->producer()->input(0), v->producer()->input(1));
}

// What is turned by a quarter, two columns at a time: d and d + D/2, or (`pairs`) the neighbours 2 d and 2 d + 1.
struct Turned {
  Value* x = nullptr;
  bool pairs = false;

  int64_t partner(int64_t d, int64_t dim) const { return pairs ? d ^ 1 : (d + dim / 2) % dim; }
  bool negative(int64_t d, int64_t dim) const { return pairs ? d % 2 == 0 : d < dim / 2; }
};

// concat(-x[D/2:], x[:D/2]), or stack(-x[1::2], x[::2]) whose last two axes are merged.
std::optional<Turned> find_turned(Value* v) {
  if (v->rank() == 0 || !v->shape().back().is_const() || v->shape().back().value() % 2 != 0) return std::nullopt;
  const int64_t width = v->shape().back().value();
  const bool pairs = v->is(Op::k_reshape);
  auto parts = joined(pairs ? v->producer()->input(0) : v);
  if (!parts) return std::nullopt;
  if (pairs) {
    for (Value** part : {&parts->first, &parts->second}) {
      const bool column =
          (*part)->is(Op::k_reshape) && (*part)->rank() == v->rank() + 1 && (*part)->shape().back() == Dim(1);
      if (!column) return std::nullopt;
      *part = (*part)->producer()->input(0);
    }
  }
  Value* second = nullptr;
  if (!matches(parts->first, op(Op::k_neg, {any(second)}))) return std::nullopt;
  Value* x = pairs ? sliced_columns(parts->second, 0, width, 2) : sliced_columns(parts->second, 0, width / 2, 1);
  Value* same = pairs ? sliced_columns(second, 1, width, 2) : sliced_columns(second, width / 2, width, 1);
  if (x == nullptr || x != same || x->shape() != v->shape()) return std::nullopt;
  return Turned{x, pairs};
}

struct Rotation {
  Turned turned;
  Value *cosines = nullptr, *sines = nullptr;
};

std::optional<Rotation> find_rotation(const Node& sum) {
  for (int i : {0, 1}) {
    const Node *plain = sum.input(i)->producer(), *crossed = sum.input(1 - i)->producer();
    if (plain == nullptr || crossed == nullptr || !plain->is(Op::k_mul) || !crossed->is(Op::k_mul)) continue;
    for (int j : {0, 1}) {
      const auto turned = find_turned(crossed->input(j));
      for (int k : {0, 1})
        if (turned && plain->input(k) == turned->x)
          return Rotation{*turned, plain->input(1 - k), crossed->input(1 - j)};
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

// The rows of heads [batch, heads, seq, dim] that are no view of rows, but made of values [batch, seq, heads, dim].
Result<std::optional<HeadSource>> rows_of_values(Rewriter& rw, Value* v) {
  const bool swapped =
      v->is(Op::k_transpose) && v->producer()->attrs().integers("perm") == std::vector<int64_t>{0, 2, 1, 3};
  if (!swapped) return std::optional<HeadSource>{};
  Value* values = v->producer()->input(0);
  const Shape& shape = values->shape();
  TENON_ASSIGN(Value * rows,
               rw.create(Op::k_reshape, {values}, {{"shape", Shape{shape[0], shape[1], shape[2] * shape[3]}}}));
  return std::optional(HeadSource{.rows = rows});
}

Result<bool> match_rotary(Rewriter& rw, Node& node) {
  if (!node.is(Op::k_add) || node.output()->rank() != 4) return rw.no_match();
  const auto found = find_rotation(node);
  if (!found || found->turned.x->shape() != node.output()->shape()) return rw.no_match();
  const Turned& turned = found->turned;
  const Shape& shape = turned.x->shape();
  if (!shape[1].is_const() || !shape[3].is_const()) return rw.decline(node, "the number of heads is not constant");
  const int64_t heads = shape[1].value(), dim = shape[3].value(), width = heads * dim;
  auto source = trace_heads(turned.x, heads, dim, false);
  if (!source) {
    TENON_ASSIGN(source, rows_of_values(rw, turned.x));
  }
  if (!source || source->group != 1)
    return rw.decline(node, "what is rotated is not heads of rows [batch, seq, heads * dim]");
  TENON_ASSIGN(Value * cosines, as_table(rw, found->cosines, *turned.x));
  TENON_ASSIGN(Value * sines, as_table(rw, found->sines, *turned.x));
  if (cosines == nullptr || sines == nullptr) return rw.decline(node, "the tables are not [batch, seq, dim]");

  std::vector<float> signs;
  for (int64_t d = 0; d < dim; ++d) signs.push_back(turned.negative(d, dim) ? -1.0f : 1.0f);
  std::vector<int64_t> partners;
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t d = 0; d < dim; ++d) partners.push_back(source->column + h * dim + turned.partner(d, dim));
  Value* rows = source->rows;
  if (rows->shape()[2] != Dim(width)) {
    TENON_ASSIGN(rows, rw.create(Op::k_slice, {rows},
                                 {{"axes", std::vector<int64_t>{2}},
                                  {"starts", Shape{Dim(source->column)}},
                                  {"ends", Shape{Dim(source->column + width)}},
                                  {"steps", std::vector<int64_t>{1}}}));
  }
  TENON_ASSIGN(Value * across,
               rw.create(Op::k_gather, {source->rows, rw.constant(Tensor::ints(partners))}, {{"axis", int64_t{2}}}));
  TENON_ASSIGN(sines, rw.create(Op::k_mul, {sines, rw.constant(Tensor::from(DType::kF32, {dim}, signs))}));
  for (Value** table : {&cosines, &sines}) {
    TENON_ASSIGN(*table, rw.create(Op::k_tile, {*table}, {{"repeats", Shape{Dim(1), Dim(1), Dim(heads)}}}));
  }
  TENON_ASSIGN(Value * straight, rw.create(Op::k_mul, {rows, cosines}));
  TENON_ASSIGN(Value * crossed, rw.create(Op::k_mul, {across, sines}));
  TENON_ASSIGN(Value * rotated, rw.create(Op::k_add, {straight, crossed}));
  TENON_ASSIGN(Value * split,
               rw.create(Op::k_reshape, {rotated}, {{"shape", Shape{shape[0], shape[2], shape[1], shape[3]}}}));
  TENON_ASSIGN(Value * swapped_axes, rw.create(Op::k_transpose, {split}, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}}));
  if (source->scale != 1) {
    Value* scale = rw.constant(Tensor::scalar(DType::kF32, source->scale));
    TENON_ASSIGN(swapped_axes, rw.create(Op::k_mul, {swapped_axes, scale}));
  }
  rw.replace(node.output(), swapped_axes);
  return rw.changed(*rotated->producer(), fmt::format("{} heads of {}", heads, dim));
}

}  // namespace

Status fuse_rotary(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-rotary", {match_rotary}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
