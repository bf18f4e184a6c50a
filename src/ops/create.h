// Making and checking nodes. Importers, networks and passes create every node here, so that no node lacks its attributes or
// its types.
#pragma once

#include "ops/op_def.h"

namespace tenon::ops {

using ir::Graph;
using ir::Node;
using ir::Value;

// Adds a node before `before` (at the end when null): checks inputs and attributes against the op's definition, fills in
// defaults, infers types and known contents. Errors: bad-model, naming the op, the input and the types at fault.
Result<Node*> create(Graph& graph, Op op, std::vector<Value*> inputs, Attrs attrs = {}, Node* before = nullptr);

// A constant of the graph. `name` is the parameter's name in the source model, empty for literals.
Value* constant(Graph& graph, Tensor tensor, std::string name = "", Node* before = nullptr);

// Types of all nodes afresh, in order: after parsing text without types, or after types of inputs changed.
Status infer_types(Graph& graph);

// ir::verify_structure, and for every node: attributes as defined, types as inferred. Errors: internal.
Status verify(const Graph& graph);

// Applies the equalities of symbols that inference had to assume (graph inputs whose axes broadcast together), by renaming
// the later symbol to the earlier throughout. Called by importers at their end.
Status apply_assumptions(Graph& graph);

// Reads text and infers the types that it leaves out.
Result<std::unique_ptr<Graph>> parse_graph(std::string_view text, std::string_view file = "<text>");

}  // namespace tenon::ops
