#include "passes/activations.h"

#include <cmath>

#include "ir/pattern.h"

namespace tenon::passes {
namespace {

using namespace ir::pattern;

// v = a x + b, with x whatever no scalar is multiplied by or added to. Inner nodes have no other reader.
struct Affine {
  Value* x = nullptr;
  double a = 1, b = 0;
};

Affine affine_of(Value* v, bool is_root = true) {
  double c = 0;
  Value* inner = nullptr;
  if (is_root || v->has_one_use()) {
    if (matches(v, op(Op::k_mul, {any(inner), scalar(c)}))) {
      const Affine t = affine_of(inner, false);
      return {t.x, t.a * c, t.b * c};
    }
    if (matches(v, op(Op::k_div, {any(inner), scalar(c)})) && c != 0) {
      const Affine t = affine_of(inner, false);
      return {t.x, t.a / c, t.b / c};
    }
    if (matches(v, op(Op::k_add, {any(inner), scalar(c)}))) {
      const Affine t = affine_of(inner, false);
      return {t.x, t.a, t.b + c};
    }
  }
  return {v, 1, 0};
}

bool is_about(double a, double b) { return std::abs(a - b) <= 1e-5; }

// x of v = min(max(x, 0), high) or max(min(x, high), 0), relu(x) being max(x, 0); null where v is something else.
Value* clamped(Value* v, double& high) {
  Value *inner = nullptr, *x = nullptr;
  const auto positive = [&](Value* t) {
    return matches(t, op(Op::k_relu, {any(x)})) || matches(t, op(Op::k_max, {any(x), number(0)}));
  };
  if (matches(v, op(Op::k_min, {any(inner), scalar(high)})) && inner->has_one_use() && positive(inner)) return x;
  if (positive(v) && x->has_one_use() && matches(x, op(Op::k_min, {any(inner), scalar(high)}))) return inner;
  return nullptr;
}

// x of v = relu6(x + 3) scaled so that its greatest value is `high`; null where v is something else.
Value* hard_sigmoid_argument(Value* v, bool is_root, double high) {
  const Affine outer = affine_of(v, is_root);
  double top = 0;
  if (!is_about(outer.b, 0) || !(is_root || v->has_one_use())) return nullptr;
  const bool scaled = outer.x != v;
  if (scaled && !outer.x->has_one_use()) return nullptr;
  Value* t = clamped(outer.x, top);
  if (t == nullptr || !is_about(top * outer.a, high)) return nullptr;
  const Affine inner = affine_of(t, false);
  const double scale = outer.a / high;
  return is_about(inner.a * scale, 1.0 / 6) && is_about(inner.b * scale, 0.5) ? inner.x : nullptr;
}

// x hard_sigmoid(x), the sixth taken before or after the product.
Value* hard_swish_argument(const Node& node) {
  const Affine outer = affine_of(node.output());
  if (!is_about(outer.b, 0) || !outer.x->is(Op::k_mul)) return nullptr;
  if (outer.x != node.output() && !outer.x->has_one_use()) return nullptr;
  for (const int i : {0, 1}) {
    Value* x = outer.x->producer()->input(i);
    if (hard_sigmoid_argument(outer.x->producer()->input(1 - i), false, 1 / outer.a) == x) return x;
  }
  return nullptr;
}

Activated match(const Node& node) {
  Value* v = node.output();
  switch (node.op()) {
    case Op::k_relu: {
      double high = 0;
      if (Value* x = clamped(v, high); x != nullptr && is_about(high, 6)) return {x, "relu6"};
      return {node.input(0), "relu"};
    }
    case Op::k_tanh:
    case Op::k_sigmoid:
    case Op::k_silu:
      return {node.input(0), std::string(ir::op_name(node.op()))};
    case Op::k_gelu: {
      const std::string& kind = node.attrs().text("approximate");
      return {node.input(0), kind == "none" ? "gelu" : "gelu_" + kind};
    }
    case Op::k_min:
    case Op::k_max: {
      double high = 0;
      if (Value* x = clamped(v, high); x != nullptr && is_about(high, 6)) return {x, "relu6"};
      Value* x = nullptr;
      if (matches(v, op(Op::k_max, {any(x), number(0)}))) return {x, "relu"};
      break;
    }
    default:
      break;
  }
  if (Value* x = hard_sigmoid_argument(v, true, 1); x != nullptr) return {x, "hard_sigmoid"};
  if (Value* x = hard_swish_argument(node); x != nullptr) return {x, "hard_swish", 2};
  return {};
}

}  // namespace

Activated find_activation(const Node& node) {
  const Activated found = match(node);
  // A constant may widen what it bounds.
  return found.x != nullptr && found.x->shape() == node.output()->shape() ? found : Activated{};
}

}  // namespace tenon::passes
