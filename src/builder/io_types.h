// The types of an engine's inputs and outputs where they are to differ from the model's.
#pragma once

#include <string>
#include <vector>

#include "ir/graph.h"

namespace tenon::builder {

// `inputs`, `outputs`: "fp32", "fp16", "bf16", "int32", "int64", "int8", "uint8", "bool", or "" for the model's own, in
// the order of the graph; one for each, one for all, or none. The graph's interface changes and casts stand behind it.
// A float stays a float and a whole number a whole number. Errors: invalid-argument (no such type, another count, a
// float for an integer).
Status set_io_types(ir::Graph& graph, const std::vector<std::string>& inputs, const std::vector<std::string>& outputs);

}  // namespace tenon::builder
