// The text form of a graph: print and parse are inverse. Dumps, pass tests, bug reports and the engine file use it.
//
//   graph @main(%input_ids: i64[batch,seq], %attention_mask: i64[batch,seq]) {
//     %w: f32[384,384] = constant {name = "encoder.layer.0.attention.self.query.weight", value = tensor f32[384,384]}  // data elsewhere
//     %half: f32[] = constant {name = "", value = tensor f32[] 0.5}  // small constants in place
//     %y: f32[batch,seq,384] = linear(%x, %w, _, %r) {activation = "gelu"}                 // _ is an absent input
//     return "last_hidden_state" = %y
//   }
//
// Attribute values: 3, 0.5, -inf, nan, "text", f32 (a dtype), [1, 2], dims[batch,seq + 1], tensor i64[2] 1, 2.
// Several outputs: %a: t, %b: t = op(…). A data symbol: `symbol tokens = %count <= batch*seq` before `return`.
// A node's origin, when it has one, follows as  from "…". Comments run from // to the end of the line.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "ir/graph.h"

namespace tenon::ir {

// Constants with at most `max_inline` elements carry their data.
std::string print(const Graph& graph, int64_t max_inline = 16);
std::string print(const Node& node, int64_t max_inline = 16);
std::string print(const AttrValue& value, int64_t max_inline = 16);

// Result types may be left out (":" and the type): ops::infer_types fills them in. Errors: bad-model with line and column.
Result<std::unique_ptr<Graph>> parse(std::string_view text, std::string_view file = "<text>");

// SSA structure: inputs defined before use, uses consistent, names unique, outputs set. Types and attributes are checked by
// ops::verify. Errors: internal, naming the node.
Status verify_structure(const Graph& graph);

}  // namespace tenon::ir
