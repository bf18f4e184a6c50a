// Runs a graph node by node with the ops' reference loops: the oracle for `tenon verify`, and the evaluator of constant
// sub-graphs when weights are folded and packed.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "ops/create.h"
#include "ops/sizes.h"

namespace tenon::ops {

// Concrete shapes for one node; allocates its outputs and runs its reference loop. Errors: those of the reference, with the
// node's name; out-of-memory. Outputs of `constant` and `reshape` share memory.
Result<std::vector<Tensor>> run_reference(const Node& node, std::span<const Tensor> inputs, const Symbols& symbols,
                                          ThreadPool* pool = nullptr);

// The value of a sub-graph over constants only. Errors: internal when `value` depends on a graph input or a symbol;
// invalid-argument when a constant is without its data.
Result<Tensor> evaluate_constant(const Value& value);
// True when `value` depends on constants only: on no graph input and on no symbolic size.
bool is_constant_expression(const Value& value);

struct InterpretOptions {
  ThreadPool* pool = nullptr;
  // Called after each node with its outputs; for per-layer comparison.
  std::function<void(const Node&, std::span<const Tensor>)> observe;
};

// All outputs of a graph, in order. Inputs by position; symbols are bound from their shapes and must agree. Values are freed
// after their last use. Errors: bad-input (count, dtype, shape), and the references' own.
Result<std::vector<Tensor>> interpret(const Graph& graph, std::span<const Tensor> inputs, const InterpretOptions& options = {});

}  // namespace tenon::ops
