// Constant and shape folding, and operations that do nothing.
//
//   known integers             -> constant, or dims where they are symbolic
//   op(constants), small       -> constant
//   x + 0, x * 1, x / 1, cast to the same type, slice of everything, expand to the same shape … -> x
//
// Large constants are not touched: transposes, concatenations and scales of weights stay expressions until they are packed
// into the engine one at a time.
#include <algorithm>

#include "base/dtype.h"
#include "ir/pattern.h"
#include "ops/interpret.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

constexpr int64_t kMaxFolded = 16384;  // elements

// Integers known at build time, symbolically at least, need no computing.
Result<bool> fold_known(Rewriter& rw, Node& node) {
  if (node.is(Op::k_constant) || node.is(Op::k_dims) || node.is(Op::k_iota)) return rw.no_match();
  bool changed = false;
  for (int i = 0; i < node.num_outputs(); ++i) {
    Value* out = node.output(i);
    if (!out->known() || (out->uses().empty() && !out->is_output())) continue;
    const ir::KnownDims known = *out->known();
    const bool all_const = std::all_of(known.values.begin(), known.values.end(), [](const Dim& d) { return d.is_const(); });
    Value* replacement = nullptr;
    if (all_const) {
      std::byte* data = nullptr;
      TENON_ASSIGN(Tensor tensor, Tensor::allocate(out->dtype(), known.shape, &data));
      visit_dtype(out->dtype(), [&]<class T>() {
        for (size_t k = 0; k < known.values.size(); ++k) reinterpret_cast<T*>(data)[k] = convert<T>(known.values[k].value());
      });
      replacement = rw.constant(std::move(tensor));
    } else {
      // A symbolic gather from one symbol, say, is already as cheap as it gets; what matters is that its inputs die.
      if (known.shape.size() > 1 || (node.is(Op::k_cast) && node.input(0)->is(Op::k_dims))) continue;
      const int64_t scalar = known.shape.empty() ? 1 : 0;
      TENON_ASSIGN(replacement, rw.create(Op::k_dims, {}, {{"values", known.values}, {"scalar", scalar}}));
      if (out->dtype() != DType::kI64) {
        TENON_ASSIGN(replacement, rw.create(Op::k_cast, {replacement}, {{"to", out->dtype()}}));
      }
    }
    rw.graph().replace_all_uses(out, replacement);
    changed = true;
  }
  return changed;
}

Result<bool> fold_constant(Rewriter& rw, Node& node) {
  if (node.is(Op::k_constant) || node.num_outputs() != 1 || node.num_inputs() == 0) return rw.no_match();
  Value* out = node.output();
  if (out->uses().empty() && !out->is_output()) return rw.no_match();
  if (!ir::all_const(out->shape())) return rw.no_match();
  std::vector<Tensor> inputs;
  int64_t largest = ir::numel(out->shape()).value();
  for (Value* v : node.inputs()) {
    const Tensor* t = v != nullptr ? v->constant() : nullptr;
    if (v != nullptr && (t == nullptr || !t->has_data())) return rw.no_match();
    inputs.push_back(t != nullptr ? *t : Tensor());
    largest = std::max(largest, t != nullptr ? t->numel() : 0);
  }
  if (largest > kMaxFolded) return rw.no_match();
  TENON_ASSIGN(std::vector<Tensor> results, ops::run_reference(node, inputs, {}));
  Value* folded = rw.constant(results[0]);
  rw.graph().replace_all_uses(out, folded);
  return true;
}

bool is_number(Value* v, double expected) {
  double found = 0;
  return v != nullptr && ir::pattern::scalar(found)(v) && found == expected;
}

// The input that an operation returns unchanged, or null.
Value* unchanged_input(const Node& node) {
  Value* x = node.input(0);
  const Value* out = node.output();
  switch (node.op()) {
    case Op::k_cast: return x->dtype() == out->dtype() ? x : nullptr;
    case Op::k_reshape:
    case Op::k_expand:
    case Op::k_tile: return x->shape() == out->shape() ? x : nullptr;
    case Op::k_concat: return node.num_inputs() == 1 ? x : nullptr;
    case Op::k_transpose: {
      const auto& perm = node.attrs().integers("perm");
      for (size_t i = 0; i < perm.size(); ++i)
        if (perm[i] != static_cast<int64_t>(i)) return nullptr;
      return x;
    }
    case Op::k_slice: {
      const auto& steps = node.attrs().integers("steps");
      const bool forward = std::all_of(steps.begin(), steps.end(), [](int64_t s) { return s == 1; });
      return forward && x->shape() == out->shape() ? x : nullptr;
    }
    case Op::k_add:
    case Op::k_sub:
      if (is_number(node.input(1), 0) && x->shape() == out->shape()) return x;
      return node.is(Op::k_add) && is_number(x, 0) && node.input(1)->shape() == out->shape() ? node.input(1) : nullptr;
    case Op::k_mul:
    case Op::k_div:
      if (is_number(node.input(1), 1) && x->shape() == out->shape()) return x;
      return node.is(Op::k_mul) && is_number(x, 1) && node.input(1)->shape() == out->shape() ? node.input(1) : nullptr;
    case Op::k_where:
      if (is_number(x, 1) && node.input(1)->shape() == out->shape()) return node.input(1);
      return is_number(x, 0) && node.input(2)->shape() == out->shape() ? node.input(2) : nullptr;
    default: return nullptr;
  }
}

Result<bool> drop_unchanged(Rewriter& rw, Node& node) {
  if (node.num_inputs() == 0 || node.input(0) == nullptr || node.num_outputs() != 1) return rw.no_match();
  Value* same = unchanged_input(node);
  if (same == nullptr || (node.output()->uses().empty() && !node.output()->is_output())) return rw.no_match();
  rw.replace(node.output(), same);
  return true;
}

}  // namespace

Status fold_constants(Graph& graph, Decisions& decisions) {
  TENON_TRY(apply_rules(graph, "fold-constants", {fold_known, drop_unchanged, fold_constant}, decisions));
  return eliminate_dead_code(graph, decisions);
}

}  // namespace tenon::passes
