#include "ops/interpret.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>

#include "base/checked.h"

namespace tenon::ops {
namespace {

// Loops read elements in place; a mapped file may hold them at any byte.
Result<Tensor> aligned(const Tensor& t) {
  if (reinterpret_cast<uintptr_t>(t.data()) % dtype_size(t.dtype()) == 0) return t;
  std::byte* memory = nullptr;
  TENON_ASSIGN(Tensor copy, Tensor::allocate(t.dtype(), t.shape(), &memory));
  std::memcpy(memory, t.data(), t.bytes());
  return copy;
}

// Ops whose output is their input's memory, or an attribute's.
Result<std::optional<Tensor>> without_copy(const Node& node, std::span<const Tensor> inputs, const Symbols& symbols) {
  if (node.is(Op::k_constant)) {
    const Tensor& value = node.attrs().tensor("value");
    if (!value.has_data()) {
      return error(ErrorCode::kInvalidArgument, "the constant '{}' has no data here: it stands in the model's file", node.attrs().text("name"));
    }
    TENON_ASSIGN(Tensor tensor, aligned(value));
    return std::optional(std::move(tensor));
  }
  if (node.is(Op::k_reshape)) {
    TENON_ASSIGN(std::vector<int64_t> shape, evaluate(node.output()->shape(), symbols));
    if (checked_numel(shape) != inputs[0].numel()) {
      return error(ErrorCode::kBadInput, "{} elements do not fit {}", inputs[0].numel(), node.output()->type().to_string());
    }
    return std::optional(inputs[0].reshaped(std::move(shape)));
  }
  return std::optional<Tensor>();
}

// The loops trust their arguments to be of the types that inference saw.
Status check_input(const Value& value, const Tensor& tensor, const Symbols& symbols) {
  TENON_ASSIGN(const std::vector<int64_t> shape, evaluate(value.shape(), symbols));
  if (tensor.dtype() == value.dtype() && tensor.shape() == shape && tensor.has_data()) return {};
  return error(ErrorCode::kInternal, "%{} is not of its type {}", value.name(), value.type().to_string());
}

TensorArg argument(const Tensor& t, const std::byte* data) {
  return {t.dtype(), t.shape(), const_cast<std::byte*>(data)};
}

Result<std::vector<Tensor>> run_node(const Node& node, std::span<const Tensor> inputs, const Symbols& symbols, ThreadPool* pool) {
  for (int i = 0; i < node.num_inputs(); ++i) {
    if (node.input(i) != nullptr) TENON_TRY(check_input(*node.input(i), inputs[static_cast<size_t>(i)], symbols));
  }
  TENON_ASSIGN(std::optional<Tensor> shared, without_copy(node, inputs, symbols));
  if (shared) return std::vector<Tensor>{*std::move(shared)};

  std::vector<Tensor> outputs(static_cast<size_t>(node.num_outputs()));
  std::vector<TensorArg> in, out;
  for (size_t i = 0; i < inputs.size(); ++i) {
    // An empty tensor may have no memory, yet it is there: any address tells it from an absent one.
    const std::byte* data = inputs[i].data() != nullptr ? inputs[i].data() : reinterpret_cast<const std::byte*>(&node);
    in.push_back(node.input(static_cast<int>(i)) == nullptr ? TensorArg{} : argument(inputs[i], data));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const TensorType& type = node.output(static_cast<int>(i))->type();
    TENON_ASSIGN(std::vector<int64_t> shape, evaluate(type.shape, symbols));
    std::byte* memory = nullptr;
    TENON_ASSIGN(outputs[i], Tensor::allocate(type.dtype, std::move(shape), &memory));
    out.push_back(argument(outputs[i], memory));
  }
  TENON_ASSIGN(const EvaluatedSizes sizes, EvaluatedSizes::of(node.attrs(), symbols));
  TENON_TRY(op_def(node.op()).reference(node.attrs(), {.inputs = in, .outputs = out, .sizes = sizes.sizes(), .pool = pool}));
  return outputs;
}

// Values during a run; each is dropped when its last expected reader has asked for it.
class Store {
 public:
  void put(const Value* value, Tensor tensor, size_t readers) {
    if (readers > 0) slots_[value] = {std::move(tensor), readers};
  }
  Tensor take(const Value* value) {
    const auto it = slots_.find(value);
    if (--it->second.readers > 0) return it->second.tensor;
    Tensor tensor = std::move(it->second.tensor);
    slots_.erase(it);
    return tensor;
  }
  std::vector<Tensor> take_inputs(const Node& node) {
    std::vector<Tensor> tensors;
    for (const Value* v : node.inputs()) tensors.push_back(v == nullptr ? Tensor() : take(v));
    return tensors;
  }

 private:
  struct Slot {
    Tensor tensor;
    size_t readers = 0;
  };
  std::unordered_map<const Value*, Slot> slots_;
};

bool has_symbolic_sizes(const Node& node) {
  return std::any_of(node.attrs().all().begin(), node.attrs().all().end(), [](const auto& attr) {
    const Shape* shape = std::get_if<Shape>(&attr.second);
    return shape != nullptr && !ir::all_const(*shape);
  });
}

// The nodes that `value` needs, each after those that it needs itself. Nothing when it needs a graph input or a symbol.
std::optional<std::vector<const Node*>> constant_nodes(const Value& value) {
  std::vector<const Node*> order;
  std::unordered_set<const Node*> seen;
  std::vector<std::pair<const Node*, int>> stack;  // a node, and which input comes next
  const auto enter = [&](const Value* v) {
    if (v->is_input() || has_symbolic_sizes(*v->producer())) return false;
    if (seen.insert(v->producer()).second) stack.emplace_back(v->producer(), 0);
    return true;
  };
  if (!enter(&value)) return std::nullopt;
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (next == node->num_inputs()) {
      order.push_back(node);
      stack.pop_back();
    } else if (const Value* input = node->input(next++); input != nullptr && !enter(input)) {
      return std::nullopt;
    }
  }
  return order;
}

Result<Symbols> bind_inputs(const Graph& graph, std::span<const Tensor> inputs) {
  if (inputs.size() != graph.inputs().size()) {
    return error(ErrorCode::kBadInput, "{} inputs given, {} expected", inputs.size(), graph.inputs().size());
  }
  std::vector<GivenShape> shapes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Value& declared = *graph.inputs()[i];
    if (inputs[i].dtype() != declared.dtype()) {
      return error(ErrorCode::kBadInput, "input '{}' is {}, {} expected", declared.name(), dtype_name(inputs[i].dtype()),
                   dtype_name(declared.dtype()));
    }
    if (!inputs[i].has_data()) return error(ErrorCode::kBadInput, "input '{}' has no data", declared.name());
    shapes.push_back({declared.name(), &declared.shape(), inputs[i].shape()});
  }
  TENON_ASSIGN(Symbols symbols, bind_symbols(shapes));
  for (const auto& [a, b] : graph.assumed_equal) {
    const auto x = evaluate(a, symbols), y = evaluate(b, symbols);
    if (x && y && *x != *y) {
      return error(ErrorCode::kBadInput, "the sizes {} = {} and {} = {} must be equal", a.to_string(), *x, b.to_string(), *y);
    }
  }
  return symbols;
}

// One run of a graph.
class Run {
 public:
  Run(const Graph& graph, Symbols symbols) : graph_(graph), symbols_(std::move(symbols)) {
    for (const ir::Output& out : graph.outputs()) ++outputs_of_[out.value];
    for (const auto& [name, symbol] : graph.data_symbols) symbols_of_.emplace(symbol.value, name);
  }

  void define(const Value* value, Tensor tensor) {
    const auto [begin, end] = symbols_of_.equal_range(value);
    for (auto it = begin; it != end && tensor.numel() == 1; ++it) symbols_[it->second] = tensor.int_at(0);
    const auto outputs = outputs_of_.find(value);
    store_.put(value, std::move(tensor), value->uses().size() + (outputs == outputs_of_.end() ? 0 : outputs->second));
  }

  Status step(const Node& node, const InterpretOptions& options) {
    const std::vector<Tensor> inputs = store_.take_inputs(node);
    TENON_ASSIGN(std::vector<Tensor> outputs, run_reference(node, inputs, symbols_, options.pool));
    if (options.observe) options.observe(node, outputs);
    for (size_t i = 0; i < outputs.size(); ++i) define(node.output(static_cast<int>(i)), std::move(outputs[i]));
    return {};
  }

  std::vector<Tensor> results() {
    std::vector<Tensor> tensors;
    for (const ir::Output& out : graph_.outputs()) tensors.push_back(store_.take(out.value));
    return tensors;
  }

 private:
  const Graph& graph_;
  Symbols symbols_;
  std::unordered_map<const Value*, size_t> outputs_of_;
  std::unordered_multimap<const Value*, std::string> symbols_of_;
  Store store_;
};

}  // namespace

Result<std::vector<Tensor>> run_reference(const Node& node, std::span<const Tensor> inputs, const Symbols& symbols,
                                          ThreadPool* pool) {
  if (inputs.size() != node.inputs().size()) {
    return error(ErrorCode::kInternal, "{}: {} inputs given, {} expected", node.describe(), inputs.size(), node.num_inputs());
  }
  auto outputs = run_node(node, inputs, symbols, pool);
  if (!outputs.ok()) return outputs.status().with_context(node.describe());
  return outputs;
}

bool is_constant_expression(const Value& value) { return constant_nodes(value).has_value(); }

Result<Tensor> evaluate_constant(const Value& value) {
  const auto nodes = constant_nodes(value);
  if (!nodes) return error(ErrorCode::kInternal, "%{} depends on the graph's inputs, so it is no constant", value.name());
  std::unordered_map<const Value*, size_t> readers{{&value, 1}};
  for (const Node* node : *nodes) {
    for (const Value* input : node->inputs()) {
      if (input != nullptr) ++readers[input];
    }
  }
  Store store;
  for (const Node* node : *nodes) {
    const std::vector<Tensor> inputs = store.take_inputs(*node);
    TENON_ASSIGN(std::vector<Tensor> outputs, run_reference(*node, inputs, {}));
    for (size_t i = 0; i < outputs.size(); ++i) {
      const Value* output = node->output(static_cast<int>(i));
      const auto it = readers.find(output);
      store.put(output, std::move(outputs[i]), it == readers.end() ? 0 : it->second);
    }
  }
  return store.take(&value);
}

Result<std::vector<Tensor>> interpret(const Graph& graph, std::span<const Tensor> inputs, const InterpretOptions& options) {
  TENON_ASSIGN(Symbols symbols, bind_inputs(graph, inputs));
  Run run(graph, std::move(symbols));
  for (size_t i = 0; i < inputs.size(); ++i) {
    TENON_ASSIGN(Tensor tensor, aligned(inputs[i]));
    run.define(graph.inputs()[i].get(), std::move(tensor));
  }
  for (const auto& node : graph.nodes()) TENON_TRY(run.step(*node, options));
  return run.results();
}

}  // namespace tenon::ops
