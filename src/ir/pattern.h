// Patterns over the producers of a value: small functions that match and bind, composed like the expression they look for.
//
//   Value* x; double c;
//   if (matches(v, op(Op::k_mul, any(x), scalar(c)))) …        // commutative ops match in either order
//
// A pattern that fails may have bound some of its variables.
#pragma once

#include <functional>
#include <vector>

#include "ir/graph.h"

namespace tenon::ir::pattern {

using Pattern = std::function<bool(Value*)>;

// Any present value.
Pattern any(Value*& bound);
// The value itself (for repeated sub-expressions).
Pattern exactly(Value* const& value);
// A constant all of whose elements are equal (any shape), bound as a number.
Pattern scalar(double& bound);
// The same with a given value, to relative 1e-4: exporters round constants such as sqrt(2) differently.
Pattern number(double expected);
// The first output of a node of this op whose leading inputs match; further inputs must be absent.
Pattern op(Op kind, std::vector<Pattern> inputs);
// The same, binding the node.
Pattern op(Op kind, std::vector<Pattern> inputs, Node*& bound);

bool matches(Value* value, const Pattern& pattern);

// Elementwise ops whose operands may be swapped.
bool is_commutative(Op kind);

}  // namespace tenon::ir::pattern
