// Factors of linears become 8 or 16 bits wide, for CPUs: floats stay f32 between the steps.
//
//   linear(x, w) {factors = ""}   ->   linear(x, w) {factors = "int8"}
//
// Left alone: weights that are computed when run (they could not be packed in advance), and heads, which cost little
// and decide much: few outputs, or tanh (a pooler). `explain` names them.
#include "ops/interpret.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

// Why a linear keeps its factors; empty: it does not.
std::string reason_to_keep(const Node& node) {
  constexpr int64_t kFewest = 64;  // outputs, and elements of a row
  if (!ops::is_constant_expression(*node.input(1))) return "its weight is computed when run";
  const ir::Shape& shape = node.input(1)->shape();
  if (!ir::all_const(shape)) return "its weight's shape is symbolic";
  if (node.input(0)->dtype() != DType::kF32) return "its rows are not f32";
  const int64_t k = shape[0].value(), n = shape[1].value();
  if (n < kFewest || k < kFewest) return fmt::format("it is small: {} by {}", k, n);
  if (node.attrs().text("activation") == "tanh") return "tanh marks the pooler of a head";
  return "";
}

}  // namespace

Status lower_linears(Graph& graph, const std::string& factors, Decisions& decisions) {
  for (const auto& node : graph.nodes()) {
    if (!node->is(Op::k_linear) || ops::is_constant_expression(*node->output())) continue;
    const std::string reason = reason_to_keep(*node);
    if (reason.empty()) node->attrs().set("factors", factors);
    decisions.push_back({"lower-linears", node->describe(), reason.empty(),
                         reason.empty() ? fmt::format("factors are {}", factors) : reason});
  }
  return {};
}

}  // namespace tenon::passes
