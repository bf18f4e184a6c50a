// The model's own floats of 16 bits become f32 between its inputs and outputs, which keep their types: what they are computed
// in is the build's choice, by lower-precision or lower-linears.
//
//   y = op(x, w): f16   ->   y = cast(op(cast(x), cast(w)))   with the casts of neighbours cancelled
//
// Why:      fusions know one type of floats; exporters and converters put casts around what they keep in f32, which break patterns.
// Declines: plugins compute in the types that they were asked about, and bits that are read as another type stay as they are.
#include <algorithm>
#include <unordered_map>

#include "passes/passes.h"

namespace tenon::passes {
namespace {

bool has_16_bits(DType type) { return type == DType::kF16 || type == DType::kBF16; }
bool has_16_bits(const Value* v) { return v != nullptr && has_16_bits(v->dtype()); }

class Widening {
 public:
  explicit Widening(Graph& graph) : graph_(graph) {}

  Result<int> run() {
    std::vector<Node*> nodes;
    for (const auto& node : graph_.nodes()) nodes.push_back(node.get());
    if (nodes.empty()) return 0;
    first_ = nodes.front();
    for (Node* node : nodes) TENON_TRY(widen(*node));
    for (size_t i = 0; i < graph_.outputs().size(); ++i) {
      TENON_ASSIGN(Value * output, narrowed(graph_.outputs()[i].value, nullptr));
      graph_.set_output(i, output);
    }
    if (widened_ == 0) return 0;
    Decisions ignored;
    TENON_TRY(eliminate_dead_code(graph_, ignored));
    for (const auto& [value, name] : names_)
      if (graph_.find_value(name) == nullptr) value->set_name(name);
    return widened_;
  }

 private:
  Status widen(Node& node) {
    const auto& inputs = node.inputs();
    const bool reads = std::ranges::any_of(inputs, [](const Value* v) { return has_16_bits(v); });
    bool gives = false;
    for (int i = 0; i < node.num_outputs(); ++i) gives |= has_16_bits(node.output(i));
    if ((!reads && !gives) || node.is(Op::k_constant)) return {};
    if (node.is(Op::k_plugin) || node.is(Op::k_bit_cast)) return keep(node);
    ++widened_;
    std::vector<Value*> wide(inputs.begin(), inputs.end());
    for (Value*& v : wide) {
      TENON_ASSIGN(v, widened(v));
    }
    Attrs attrs = node.attrs();
    for (const char* name : {"to", "dtype"}) {
      const ir::AttrValue* type = attrs.find(name);
      if (type != nullptr && std::holds_alternative<DType>(*type) && has_16_bits(std::get<DType>(*type))) attrs.set(name, DType::kF32);
    }
    if (node.is(Op::k_cast) && wide[0]->dtype() == DType::kF32 && attrs.dtype("to") == DType::kF32) {
      take_over(node.output(), wide[0]);
      return {};
    }
    TENON_ASSIGN(Node * made, ops::create(graph_, node.op(), wide, attrs, &node));
    made->set_origin(node.origin());
    for (int i = 0; i < node.num_outputs(); ++i) {
      names_.emplace_back(made->output(i), node.output(i)->name());
      take_over(node.output(i), made->output(i));
    }
    return {};
  }

  // `made` stands for `v`: in its place where it has its type.
  void take_over(Value* v, Value* made) {
    if (has_16_bits(v)) {
      wide_[v] = made;
    } else {
      graph_.replace_all_uses(v, made);
    }
  }

  // A narrow value in f32, beside its producer; others as they are.
  Result<Value*> widened(Value* v) {
    if (!has_16_bits(v)) return v;
    if (const auto it = wide_.find(v); it != wide_.end()) return it->second;
    Node* before = v->producer() != nullptr ? graph_.next(v->producer()) : first_;
    TENON_ASSIGN(Node * cast, ops::create(graph_, Op::k_cast, {v}, {{"to", DType::kF32}}, before));
    return wide_[v] = cast->output();
  }

  // A value in its own type again, before `node` (null: at the end).
  Result<Value*> narrowed(Value* v, Node* node) {
    if (!has_16_bits(v) || !wide_.contains(v) || wide_.at(v)->producer() == nullptr) return v;
    if (const Node& cast = *wide_.at(v)->producer(); cast.is(Op::k_cast) && cast.input(0) == v) return v;
    TENON_ASSIGN(Node * cast, ops::create(graph_, Op::k_cast, {wide_.at(v)}, {{"to", v->dtype()}}, node));
    names_.emplace_back(cast->output(), v->name());
    return cast->output();
  }

  Status keep(Node& node) {
    for (int i = 0; i < node.num_inputs(); ++i) {
      if (!has_16_bits(node.input(i))) continue;
      TENON_ASSIGN(Value * v, narrowed(node.input(i), &node));
      graph_.set_input(&node, i, v);
    }
    return {};
  }

  Graph& graph_;
  Node* first_ = nullptr;
  int widened_ = 0;
  std::unordered_map<Value*, Value*> wide_;  // what stands for a narrow value
  std::vector<std::pair<Value*, std::string>> names_;  // of what was replaced, to be taken over
};

}  // namespace

Status widen_precision(Graph& graph, Decisions& decisions) {
  TENON_ASSIGN(const int widened, Widening(graph).run());
  if (widened > 0) decisions.push_back({"widen-precision", "graph", true, fmt::format("{} nodes of 16-bit floats compute in f32, or what the build asks for", widened)});
  return {};
}

DType type_of_products(const Graph& graph) {
  int narrow[2] = {}, others = 0;
  for (const auto& node : graph.nodes()) {
    if (!node->is(Op::k_matmul) && !node->is(Op::k_linear) && !node->is(Op::k_conv)) continue;
    const DType type = node->output()->dtype();
    ++(has_16_bits(type) ? narrow[type == DType::kBF16] : others);
  }
  if (std::max(narrow[0], narrow[1]) <= others) return DType::kF32;
  return narrow[0] >= narrow[1] ? DType::kF16 : DType::kBF16;
}

}  // namespace tenon::passes
