// Dead code and common subexpressions.
#include <map>
#include <unordered_map>

#include "ir/text.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

// Two nodes with the same key compute the same values.
std::string key_of(const Node& node) {
  std::string key(ir::op_name(node.op()));
  for (const Value* v : node.inputs()) key += fmt::format(",{}", static_cast<const void*>(v));
  for (const auto& [name, value] : node.attrs().all()) {
    if (const auto* tensor = std::get_if<Tensor>(&value); tensor != nullptr && tensor->has_data() && tensor->numel() > 64) {
      // Large constants are compared by address: reading them would cost more than it saves.
      key += fmt::format(",{}={}:{}@{}", name, dtype_name(tensor->dtype()), ir::to_string(ir::to_shape(tensor->shape())),
                         static_cast<const void*>(tensor->data()));
    } else if (node.is(Op::k_constant) && name == "name" && node.attrs().tensor("value").has_data()) {
      continue;  // equal literals are equal under any name
    } else {
      key += "," + name + "=" + ir::print(value, 64);
    }
  }
  return key;
}

}  // namespace

Status eliminate_dead_code(Graph& graph, Decisions&) {
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  // Users stand behind producers, so one backward sweep sees every node after all its users are gone.
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    bool used = false;
    for (int i = 0; i < (*it)->num_outputs(); ++i) {
      const Value* out = (*it)->output(i);
      used |= !out->uses().empty() || out->is_output();
      for (const auto& [name, symbol] : graph.data_symbols) used |= symbol.value == out;
    }
    if (!used) graph.erase(*it);
  }
  return {};
}

Status eliminate_common_subexpressions(Graph& graph, Decisions&) {
  std::unordered_map<std::string, Node*> first;
  std::vector<Node*> nodes;
  for (const auto& node : graph.nodes()) nodes.push_back(node.get());
  for (Node* node : nodes) {
    const auto [it, inserted] = first.emplace(key_of(*node), node);
    if (inserted) continue;
    for (int i = 0; i < node->num_outputs(); ++i) graph.replace_all_uses(node->output(i), it->second->output(i));
    graph.erase(node);
  }
  return {};
}

}  // namespace tenon::passes
