#include "passes/rewriter.h"

#include <algorithm>

namespace tenon::passes {

Result<Value*> Rewriter::create(Op op, std::vector<Value*> inputs, Attrs attrs) {
  TENON_ASSIGN(Node * node, ops::create(graph_, op, std::move(inputs), std::move(attrs), anchor_));
  if (anchor_ != nullptr) node->set_origin(anchor_->origin());
  for (int i = 0; i < node->num_outputs(); ++i) created_.push_back(node->output(i));
  return node->output();
}

Result<Value*> Rewriter::create_plugin(const ops::PluginOperator& op, const ops::PluginAttributes& attributes, std::vector<Value*> inputs) {
  TENON_ASSIGN(Node * node, ops::create_plugin(graph_, op, attributes, std::move(inputs), anchor_));
  if (anchor_ != nullptr) node->set_origin(anchor_->origin());
  created_.push_back(node->output());
  return node->output();
}

void Rewriter::absorb_origin(Node* into, const Node* from) {
  if (from == nullptr || from->origin().empty() || into->origin().find(from->origin()) != std::string::npos) return;
  into->set_origin(into->origin().empty() ? from->origin() : into->origin() + "+" + from->origin());
}

void Rewriter::replace(Value* from, Value* to) {
  // The user knows the old name: a value made here carries it on; one that was there before keeps its own.
  if (std::find(created_.begin(), created_.end(), to) != created_.end()) {
    std::string name = from->name();
    from->set_name(graph_.unique_name(name + ".old"));
    to->set_name(std::move(name));
  }
  replace_changed(from, to);
}

void Rewriter::replace_changed(Value* from, Value* to) {
  Node* producer = from->producer();
  if (producer != nullptr && to->producer() != nullptr) absorb_origin(to->producer(), producer);
  graph_.replace_all_uses(from, to);
  if (producer != nullptr) erase_if_dead(graph_, producer);
}

Result<bool> Rewriter::decline(const Node& node, std::string reason) {
  Decision d{pass_, node.describe(), false, std::move(reason)};
  const bool known = std::any_of(decisions_.begin(), decisions_.end(), [&](const Decision& o) {
    return o.pass == d.pass && o.node == d.node && o.reason == d.reason;
  });
  if (!known) decisions_.push_back(std::move(d));
  return false;
}

Result<bool> Rewriter::changed(const Node& node, std::string what) {
  decisions_.push_back({pass_, node.describe(), true, std::move(what)});
  return true;
}

void erase_if_dead(Graph& graph, Node* node) {
  std::vector<Node*> pending{node};
  while (!pending.empty()) {
    Node* n = pending.back();
    pending.pop_back();
    bool used = false;
    for (int i = 0; i < n->num_outputs(); ++i) {
      used |= !n->output(i)->uses().empty() || n->output(i)->is_output();
      for (const auto& [name, symbol] : graph.data_symbols) used |= symbol.value == n->output(i);
    }
    if (used) continue;
    std::vector<Node*> producers;
    for (Value* v : n->inputs()) {
      Node* p = v != nullptr ? v->producer() : nullptr;
      if (p != nullptr && std::find(producers.begin(), producers.end(), p) == producers.end()) producers.push_back(p);
    }
    std::erase(pending, n);
    graph.erase(n);
    pending.insert(pending.end(), producers.begin(), producers.end());
  }
}

Status apply_rules(Graph& graph, const std::string& pass, std::initializer_list<Rule> rules, std::vector<Decision>& decisions) {
  Rewriter rewriter(graph, pass, decisions);
  // Each sweep restarts where a rule changed the graph; a rule set that never settles is a bug, not an endless loop.
  const size_t limit = 64 + 16 * graph.nodes().size();
  size_t changes = 0;
  const auto node_order = [&] {
    std::vector<Node*> order;
    for (const auto& node : graph.nodes()) order.push_back(node.get());
    return order;
  };
  bool again = true;
  while (again) {
    again = false;
    std::vector<Node*> order = node_order();
    for (size_t i = 0; i < order.size(); ++i) {
      bool changed = false;
      for (Rule rule : rules) {
        rewriter.set_anchor(order[i]);
        const Result<bool> result = rule(rewriter, *order[i]);
        if (!result.ok()) return result.status().with_context("pass " + pass);
        if ((changed = *result)) break;
      }
      if (!changed) continue;
      if (++changes > limit) return error(ErrorCode::kInternal, "pass {} does not settle", pass);
      // The change may have removed nodes that `order` names: take it afresh, and go on a little before the change.
      again = true;
      order = node_order();
      i = i > 8 ? i - 8 : 0;
    }
  }
  return {};
}

}  // namespace tenon::passes
