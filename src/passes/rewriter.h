// What a rewrite rule works with: it creates nodes in place, replaces values, and says why it did or did not.
#pragma once

#include <string>
#include <vector>

#include "ops/create.h"
#include "ops/plugin_host.h"

namespace tenon::passes {

using ir::Attrs;
using ir::Dim;
using ir::Graph;
using ir::Node;
using ir::Op;
using ir::Shape;
using ir::Tensor;
using ir::Value;

// One line of `tenon explain`.
struct Decision {
  std::string pass;
  std::string node;    // description of the node at hand
  bool applied = false;
  std::string reason;  // what was done, or why not
};

class Rewriter {
 public:
  Rewriter(Graph& graph, std::string pass, std::vector<Decision>& decisions)
      : graph_(graph), pass_(std::move(pass)), decisions_(decisions) {}

  Graph& graph() { return graph_; }
  // New nodes are inserted before this one.
  void set_anchor(Node* node) {
    anchor_ = node;
    created_.clear();
  }

  // The first output of a new node before the anchor; its origin is that of the anchor unless set later.
  Result<Value*> create(Op op, std::vector<Value*> inputs, Attrs attrs = {});
  Result<Value*> create_plugin(const ops::PluginOperator& op, const ops::PluginAttributes& attributes, std::vector<Value*> inputs);
  Value* constant(Tensor tensor) { return ops::constant(graph_, std::move(tensor), "", anchor_); }
  // Uses of `from` become uses of `to`; `to` takes over from's name and gathers its origin. Dead producers are removed.
  void replace(Value* from, Value* to);
  // The same where `to` does not hold the same numbers (a folded scale or bias): it keeps a name of its own.
  void replace_changed(Value* from, Value* to);
  // Adds a node's origin to another's: a fused node names all that it came from.
  void absorb_origin(Node* into, const Node* from);

  // The three ways to end a rule.
  Result<bool> no_match() const { return false; }
  Result<bool> decline(const Node& node, std::string reason);
  Result<bool> changed(const Node& node, std::string what = "");

 private:
  Graph& graph_;
  std::string pass_;
  std::vector<Decision>& decisions_;
  Node* anchor_ = nullptr;
  std::vector<Value*> created_;  // since the anchor was set
};

// Removes `node` and whatever only it used, when nothing uses its outputs.
void erase_if_dead(Graph& graph, Node* node);

// A rule looks at one node and may rewrite around it. True: the graph changed. `node` must not be touched after a change.
using Rule = Result<bool> (*)(Rewriter&, Node&);

// Applies rules to every node in order until none applies. Errors: the rules', with the pass's name.
Status apply_rules(Graph& graph, const std::string& pass, std::initializer_list<Rule> rules, std::vector<Decision>& decisions);

}  // namespace tenon::passes
