// Floats of 32 bits become floats of 16 between the graph's inputs and outputs, which keep their types.
//
//   y = op(x, w): f32   ->   y = cast(op(cast(x), cast(w))) with the casts of neighbours cancelled
//
// Weights are cast as constant expressions, evaluated once when they are packed. Sums, norms' statistics and the softmax stay
// in 32 bits inside the kernels. A number too large for the type becomes its largest, so that what softmax reads where a mask
// hides everything stays a number; one too small becomes the smallest that is not zero: such numbers stand where a division by
// zero is to be avoided.
//
// What is computed from positions alone stays f32, and so do the angles of sines and cosines: a position of four digits times
// a frequency has no digits left behind the point in 16 bits.
#include <algorithm>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "ops/interpret.h"
#include "ops/quantize.h"
#include "passes/passes.h"

namespace tenon::passes {
namespace {

class Lowering {
 public:
  Lowering(Graph& graph, DType to, const NodeSet* only) : graph_(graph), to_(to), only_(only) {}

  Status run() {
    std::vector<Node*> nodes;
    for (const auto& node : graph_.nodes()) nodes.push_back(node.get());
    if (only_ == nullptr) find_positional(nodes);
    for (Node* node : nodes) TENON_TRY(lower(*node));
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      Value* output = graph_.outputs()[i].value;
      if (!replaced_.contains(output)) continue;
      TENON_ASSIGN(output, widened(output, nullptr));
      graph_.set_output(i, output);
    }
    Decisions ignored;
    TENON_TRY(eliminate_dead_code(graph_, ignored));
    for (const auto& [value, name] : names_)
      if (graph_.find_value(name) == nullptr) value->set_name(name);
    return {};
  }

 private:
  static bool is_f32(const Value* v) { return v != nullptr && v->type().dtype == DType::kF32; }

  static bool is_angular(const Node& node) {
    if (node.is(Op::k_sin) || node.is(Op::k_cos)) return true;
    if (!node.is(Op::k_pointwise)) return false;
    const std::string& program = node.attrs().text("program");
    return program.find("=sin(") != std::string::npos || program.find("=cos(") != std::string::npos;
  }

  void find_positional(const std::vector<Node*>& nodes) {
    std::unordered_set<const Value*> fixed;  // by the shapes
    for (Node* node : nodes) {
      const auto known = [&](const Value* v) { return v == nullptr || fixed.contains(v); };
      if (!std::ranges::all_of(node->inputs(), known)) continue;
      for (int i = 0; i < node->num_outputs(); ++i) fixed.insert(node->output(i));
      wide_.insert(node);
    }
    for (Node* node : nodes)
      if (is_angular(*node)) add_angles(*node);
  }

  // `node` and what it is computed from, unless layers of the model are among that.
  void add_angles(Node& node) {
    std::unordered_set<const Node*> angles;
    std::vector<Node*> pending{&node};
    while (!pending.empty()) {
      Node* next = pending.back();
      pending.pop_back();
      if (next->is(Op::k_linear) || next->is(Op::k_attention) || next->is(Op::k_embedding)) return;
      if (!angles.insert(next).second) continue;
      for (const Value* v : next->inputs())
        if (v != nullptr && v->producer() != nullptr) pending.push_back(v->producer());
    }
    wide_.insert(angles.begin(), angles.end());
  }

  // `v` in the smaller type, before `node`.
  Result<Value*> lowered(Value* v, Node* node) {
    if (const auto it = lowered_.find(v); it != lowered_.end()) return it->second;
    // Beside its producer, so that every later reader finds it.
    Node* before = v->producer() != nullptr ? graph_.next(v->producer()) : first_;
    TENON_ASSIGN(const double nearest, nearest_number(*v));
    if (nearest != 0) return lowered_[v] = ops::constant(graph_, Tensor::scalar(to_, nearest), "", before != nullptr ? before : node);
    TENON_ASSIGN(Node * cast, ops::create(graph_, Op::k_cast, {v}, Attrs{{"to", to_}}, before != nullptr ? before : node));
    return lowered_[v] = cast->output();
  }

  // A value that was replaced, in f32 again, before `node`, the first that asks (null: at the end).
  Result<Value*> widened(Value* v, Node* node) {
    Value*& wide = widened_[v];
    if (wide == nullptr) {
      TENON_ASSIGN(Node * cast, ops::create(graph_, Op::k_cast, {lowered_.at(v)}, Attrs{{"to", DType::kF32}}, node));
      wide = cast->output();
    }
    return wide;
  }

  // What stands for a constant number that the smaller type rounds to zero or infinity; 0: it does not.
  Result<double> nearest_number(const Value& v) const {
    if (v.rank() != 0 || !ops::is_constant_expression(v)) return 0.0;
    TENON_ASSIGN(const Tensor number, ops::evaluate_constant(v));
    const double x = number.at(0), rounded = Tensor::scalar(to_, x).at(0);
    if (x != 0 && rounded == 0) return std::copysign(to_ == DType::kF16 ? 0x1p-24 : 0x1p-126, x);
    if (std::isfinite(x) && std::isinf(rounded)) return std::copysign(largest_finite(to_), x);
    return 0.0;
  }

  Status lower(Node& node) {
    if (first_ == nullptr) first_ = &node;
    if (ops::is_constant_expression(*node.output())) return {};
    // A plugin computes in the types that it was asked about.
    if (wide_.contains(&node) || node.is(Op::k_plugin)) return keep_inputs_wide(node);
    if (!is_f32(node.output()) || (only_ != nullptr && !only_->contains(&node))) return keep_inputs_wide(node);
    std::vector<Value*> inputs(node.inputs().begin(), node.inputs().end());
    Attrs attrs = node.attrs();
    if (node.is(Op::k_cast)) {
      attrs.set("to", to_);
    } else {
      if (node.is(Op::k_pointwise)) narrow_program(attrs);
      for (size_t i = 0; i < inputs.size(); ++i) {
        if (!is_f32(inputs[i]) || (only_ != nullptr && stays_wide(node, i))) continue;
        TENON_ASSIGN(inputs[i], lowered(inputs[i], &node));
      }
    }
    TENON_ASSIGN(Node * made, ops::create(graph_, node.op(), inputs, attrs, &node));
    made->set_origin(node.origin());
    for (int i = 0; i < node.num_outputs(); ++i) {
      names_.emplace_back(made->output(i), node.output(i)->name());
      if (made->output(i)->type().dtype != to_) {
        graph_.replace_all_uses(node.output(i), made->output(i));  // indices beside values
        continue;
      }
      lowered_[node.output(i)] = made->output(i);
      replaced_.insert(node.output(i));
    }
    return {};
  }

  // Casts inside of a program are to the smaller type, too.
  void narrow_program(Attrs& attrs) const {
    const std::string wide = fmt::format("cast_{}(", dtype_name(DType::kF32)), narrow = fmt::format("cast_{}(", dtype_name(to_));
    std::string program = attrs.text("program");
    for (size_t at = 0; (at = program.find(wide, at)) != std::string::npos; at += narrow.size()) program.replace(at, wide.size(), narrow);
    attrs.set("program", std::move(program));
    attrs.set("dtype", to_);
  }

  // Biases are added to scores that are f32 anyway; weights of 8 bits are made of those of 32.
  static bool stays_wide(const Node& node, size_t input) {
    if (node.is(Op::k_attention)) return input == 8;
    const bool multiplies = node.is(Op::k_linear) || node.is(Op::k_conv);
    return multiplies && input == 1 && ops::are_integers(node.attrs().text("factors"));
  }

  // A node that reads floats and gives none (a comparison), or is to stay as it is, reads what was computed, widened.
  Status keep_inputs_wide(Node& node) {
    for (int i = 0; i < node.num_inputs(); ++i) {
      Value* in = node.input(i);
      if (in == nullptr || !replaced_.contains(in)) continue;
      TENON_ASSIGN(in, widened(in, &node));
      graph_.set_input(&node, i, in);
    }
    return {};
  }

  Graph& graph_;
  const DType to_;
  const NodeSet* only_;  // null: all
  std::unordered_set<const Node*> wide_;  // computed from positions
  Node* first_ = nullptr;
  std::unordered_map<Value*, Value*> lowered_;  // in the smaller type
  std::unordered_set<Value*> replaced_;         // computed in it; the others were cast
  std::unordered_map<Value*, Value*> widened_;  // of those that were replaced
  std::vector<std::pair<Value*, std::string>> names_;  // of what was replaced, to be taken over
};

}  // namespace

Status lower_precision(Graph& graph, DType to, std::vector<Decision>& decisions) {
  TENON_TRY(Lowering(graph, to, nullptr).run());
  decisions.push_back({"lower-precision", "graph", true, fmt::format("floats are {}", dtype_name(to))});
  return {};
}

Status lower_nodes(Graph& graph, DType to, const NodeSet& nodes) { return Lowering(graph, to, &nodes).run(); }

}  // namespace tenon::passes
