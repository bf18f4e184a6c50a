// (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)  ->  layer_norm(x)
// layer_norm(x) * gamma                                 ->  layer_norm(x, gamma)
// layer_norm(x, gamma) + beta                           ->  layer_norm(x, gamma, beta)
// x / sqrt(mean(x^2) + epsilon)                         ->  rms_norm(x), then gamma as above
//
// Why:      nine operators, each a pass over the rows, become one.
// Declines: the mean is not over the trailing axes; gamma or beta is not a vector over them.
#include "ir/pattern.h"
#include "ops/interpret.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

using namespace ir::pattern;

bool is_trailing_mean(const Node& mean, int rank) {
  const auto& axes = mean.attrs().integers("axes");
  return axes.size() == 1 && axes[0] == rank - 1;
}

// Matches the square of `d`: pow(d, 2) or d * d.
bool is_square_of(Value* v, Value* d) {
  return matches(v, op(Op::k_pow, {exactly(d), number(2)})) || matches(v, op(Op::k_mul, {exactly(d), exactly(d)}));
}

// Matches x divided by the square root of `radicand`, in the spellings of division.
bool is_quotient_by_root(Value* v, Value*& x, Value*& radicand) {
  const Pattern root = op(Op::k_sqrt, {any(radicand)});
  return matches(v, op(Op::k_div, {any(x), root})) || matches(v, op(Op::k_mul, {any(x), op(Op::k_reciprocal, {root})})) ||
         matches(v, op(Op::k_mul, {any(x), op(Op::k_div, {number(1), root})})) ||
         matches(v, op(Op::k_mul, {any(x), op(Op::k_rsqrt, {any(radicand)})})) ||
         matches(v, op(Op::k_mul, {any(x), op(Op::k_pow, {any(radicand), number(-0.5)})}));
}

Result<bool> match_normalisation(Rewriter& rw, Node& node) {
  Value *x = nullptr, *radicand = nullptr, *square = nullptr;
  double epsilon = 0;
  Node* mean_of_squares = nullptr;
  if (!is_quotient_by_root(node.output(), x, radicand)) return rw.no_match();
  if (!matches(radicand, op(Op::k_add, {op(Op::k_reduce_mean, {any(square)}, mean_of_squares), scalar(epsilon)}))) return rw.no_match();
  // Exporters may compute x - mean twice; common subexpressions have made the two one.
  if (!is_square_of(square, x)) return rw.no_match();
  if (!is_trailing_mean(*mean_of_squares, x->rank())) return rw.decline(node, "the mean is not over the last axis");
  Op kind = Op::k_rms_norm;
  Value* centred = nullptr;
  Node* mean = nullptr;
  if (matches(x, op(Op::k_sub, {any(centred), op(Op::k_reduce_mean, {exactly(centred)}, mean)}))) {
    if (!is_trailing_mean(*mean, x->rank())) return rw.decline(node, "the mean is not over the last axis");
    kind = Op::k_layer_norm;
    x = centred;
  }
  TENON_ASSIGN(Value * norm, rw.create(kind, {x}, {{"axis", int64_t{-1}}, {"epsilon", epsilon}}));
  rw.replace(node.output(), norm);
  return rw.changed(*norm->producer(), "normalisation");
}

// A vector over the last axis of x, as rank 1; null when v is something else.
Result<Value*> as_vector(Rewriter& rw, Value* v, Value* x) {
  if (v->rank() == 0 || !ops::is_constant_expression(*v)) return nullptr;
  for (int i = 0; i + 1 < v->rank(); ++i)
    if (v->shape()[static_cast<size_t>(i)] != Dim(1)) return nullptr;
  if (v->shape().back() != x->shape().back()) return nullptr;
  if (v->rank() == 1) return v;
  return rw.create(Op::k_reshape, {v}, {{"shape", Shape{v->shape().back()}}});
}

Result<bool> absorb_gamma_or_beta(Rewriter& rw, Node& node) {
  const bool is_gamma = node.is(Op::k_mul);
  if (!is_gamma && !node.is(Op::k_add)) return rw.no_match();
  for (int i : {0, 1}) {
    Value *normed = node.input(i), *other = node.input(1 - i);
    const bool is_rms = normed->is(Op::k_rms_norm);
    if ((!normed->is(Op::k_layer_norm) && !(is_rms && is_gamma)) || !normed->has_one_use()) continue;
    Node& norm = *normed->producer();
    if (norm.input(2) != nullptr || norm.input(3) != nullptr || (is_gamma && norm.input(1) != nullptr)) continue;
    TENON_ASSIGN(Value * vector, as_vector(rw, other, normed));
    if (vector == nullptr) continue;
    Value* gamma = is_gamma ? vector : norm.input(1);
    std::vector<Value*> inputs{norm.input(0), gamma};
    if (!is_gamma) inputs.push_back(vector);
    TENON_ASSIGN(Value * fused, rw.create(norm.op(), inputs, norm.attrs()));
    rw.absorb_origin(fused->producer(), &norm);
    rw.replace(node.output(), fused);
    return true;
  }
  return rw.no_match();
}

}  // namespace

Status fuse_layer_norm(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fuse-layer-norm", {match_normalisation, absorb_gamma_or_beta}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
