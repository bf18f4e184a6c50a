#include "plan/placement.h"

#include <algorithm>
#include <set>
#include <string>

#include "ops/op_def.h"

namespace tenon::plan {
namespace {

using ir::Node;
using ir::Op;

bool computes_floats(const Node& node) {
  for (int i = 0; i < node.num_outputs(); ++i)
    if (is_float(node.output(i)->dtype())) return true;
  return false;
}

// Two axes grow with the same size.
bool is_over_pairs(const ir::Shape& shape) {
  std::set<std::string> seen;
  for (const ir::Dim& axis : shape) {
    std::set<std::string> own;
    axis.collect_symbols(own);
    for (const std::string& symbol : own)
      if (!seen.insert(symbol).second) return true;
  }
  return false;
}

// Divisions of integers may fail, which only the host can say.
bool is_safe_elementwise(const Node& node) {
  if (node.is(Op::k_div) || node.is(Op::k_mod) || node.is(Op::k_pow)) return false;
  return ops::op_def(node.op()).locality == ops::Locality::kElementwise;
}

}  // namespace

std::unordered_set<const Node*> host_nodes(const ir::Graph& graph) {
  std::unordered_set<const Node*> host;
  for (auto it = graph.nodes().rbegin(); it != graph.nodes().rend(); ++it) {
    const Node& node = **it;
    if (computes_floats(node)) continue;
    const ir::Value& y = *node.output();
    const bool grows = node.is(Op::k_expand) || node.is(Op::k_reshape) || (is_over_pairs(y.shape()) && is_safe_elementwise(node));
    const bool is_for_gpu = !y.uses().empty() && !y.is_output() && std::ranges::none_of(y.uses(), [&](const ir::Use& use) { return host.contains(use.node); });
    if (!grows || !is_for_gpu || node.num_outputs() > 1) host.insert(&node);
  }
  return host;
}

}  // namespace tenon::plan
