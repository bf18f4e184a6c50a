#include "ir/pattern.h"

#include <cmath>

namespace tenon::ir::pattern {

bool is_commutative(Op kind) {
  switch (kind) {
    case Op::k_add: case Op::k_mul: case Op::k_min: case Op::k_max: case Op::k_equal: case Op::k_and: case Op::k_or: case Op::k_xor: return true;
    default: return false;
  }
}

Pattern any(Value*& bound) {
  return [&bound](Value* v) {
    bound = v;
    return v != nullptr;
  };
}

Pattern exactly(Value* const& value) {
  return [&value](Value* v) { return v != nullptr && v == value; };
}

Pattern scalar(double& bound) {
  return [&bound](Value* v) {
    const Tensor* tensor = v != nullptr ? v->constant() : nullptr;
    const auto uniform = tensor != nullptr ? tensor->uniform_value() : std::nullopt;
    if (uniform) bound = *uniform;
    return uniform.has_value();
  };
}

Pattern number(double expected) {
  return [expected](Value* v) {
    double found = 0;
    return scalar(found)(v) && std::abs(found - expected) <= 1e-4 * std::abs(expected);
  };
}

Pattern op(Op kind, std::vector<Pattern> inputs) {
  return [kind, inputs = std::move(inputs)](Value* v) {
    if (v == nullptr || !v->is(kind) || v->index() != 0) return false;
    const Node& node = *v->producer();
    const size_t count = inputs.size();
    for (size_t i = count; i < node.inputs().size(); ++i)
      if (node.inputs()[i] != nullptr) return false;
    const auto in_order = [&](bool swapped) {
      for (size_t i = 0; i < count; ++i)
        if (!inputs[i](node.input(static_cast<int>(swapped ? count - 1 - i : i)))) return false;
      return true;
    };
    return in_order(false) || (count == 2 && is_commutative(kind) && in_order(true));
  };
}

Pattern op(Op kind, std::vector<Pattern> inputs, Node*& bound) {
  return [p = op(kind, std::move(inputs)), &bound](Value* v) {
    if (!p(v)) return false;
    bound = v->producer();
    return true;
  };
}

bool matches(Value* value, const Pattern& pattern) { return pattern(value); }

}  // namespace tenon::ir::pattern
