#include "onnx/importer.h"

#include <algorithm>
#include <filesystem>
#include <queue>

#include "onnx/op_table.h"
#include "onnx/ops.h"

namespace tenon::onnx {
namespace {

using onnx_pb::AttributeProto;
using onnx_pb::FunctionProto;
using onnx_pb::GraphProto;
using onnx_pb::NodeProto;

// Functions that call functions multiply: a small file must not become an endless graph.
constexpr int64_t kMaxNodes = 50'000;
constexpr int kMaxCallDepth = 64;

// Names that a subgraph takes from around it (and its own: harmless).
void collect_names(const GraphProto& graph, std::vector<std::string>& names) {
  for (const NodeProto& node : graph.node()) {
    names.insert(names.end(), node.input().begin(), node.input().end());
    for (const AttributeProto& attribute : node.attribute())
      if (attribute.has_g()) collect_names(attribute.g(), names);
  }
  for (const auto& output : graph.output()) names.push_back(output.name());
}

std::vector<std::string> names_used_by(const NodeProto& node) {
  std::vector<std::string> names(node.input().begin(), node.input().end());
  for (const AttributeProto& attribute : node.attribute())
    if (attribute.has_g()) collect_names(attribute.g(), names);
  return names;
}

std::string operator_label(const std::string& domain, const std::string& name, int64_t opset) {
  return fmt::format("{}{}{} (opset {})", domain, domain.empty() ? "" : ".", name, opset);
}

// Which nodes are needed for `wanted`, each after those that it needs. Errors: bad-model (a name defined twice, a
// cycle).
Result<std::vector<int>> needed_order(const google::protobuf::RepeatedPtrField<NodeProto>& nodes,
                                      const std::vector<std::string>& wanted) {
  std::unordered_map<std::string, int> producer;
  for (int i = 0; i < nodes.size(); ++i) {
    for (const std::string& name : nodes[i].output()) {
      if (name.empty() || producer.emplace(name, i).second) continue;
      return error(ErrorCode::kBadModel, "node '{}' ({}): its output '{}' is defined by another node already",
                   node_label(nodes[i]), nodes[i].op_type(), name);
    }
  }
  const auto count = static_cast<size_t>(nodes.size());
  std::vector<std::vector<int>> users(count);
  std::vector<int> waiting(count, 0);
  std::vector<bool> needed(count, false);
  std::vector<int> stack;
  const auto need = [&](const std::string& name) {
    const auto it = producer.find(name);
    if (it == producer.end()) return -1;
    if (!needed[static_cast<size_t>(it->second)]) stack.push_back(it->second);
    needed[static_cast<size_t>(it->second)] = true;
    return it->second;
  };
  for (const std::string& name : wanted) need(name);
  while (!stack.empty()) {
    const int node = stack.back();
    stack.pop_back();
    for (const std::string& name : names_used_by(nodes[node])) {
      if (const int from = need(name); from >= 0) {
        users[static_cast<size_t>(from)].push_back(node);
        ++waiting[static_cast<size_t>(node)];
      }
    }
  }
  std::priority_queue<int, std::vector<int>, std::greater<>> ready;
  for (int i = 0; i < nodes.size(); ++i)
    if (needed[static_cast<size_t>(i)] && waiting[static_cast<size_t>(i)] == 0) ready.push(i);
  std::vector<int> order;
  while (!ready.empty()) {
    order.push_back(ready.top());
    ready.pop();
    for (const int user : users[static_cast<size_t>(order.back())])
      if (--waiting[static_cast<size_t>(user)] == 0) ready.push(user);
  }
  for (int i = 0; i < nodes.size(); ++i) {
    if (waiting[static_cast<size_t>(i)] == 0) continue;
    return error(ErrorCode::kBadModel, "the graph has a cycle through node '{}' ({})", node_label(nodes[i]),
                 nodes[i].op_type());
  }
  return order;
}

}  // namespace

std::string node_label(const NodeProto& node) {
  if (!node.name().empty()) return node.name();
  return node.output_size() > 0 && !node.output(0).empty() ? node.output(0) : node.op_type();
}

std::string canonical_domain(const std::string& domain) { return domain == "ai.onnx" ? "" : domain; }

Result<Opsets> read_opsets(const google::protobuf::RepeatedPtrField<onnx_pb::OperatorSetId>& imports) {
  Opsets opsets;
  for (const auto& import : imports) {
    const std::string domain = canonical_domain(import.domain());
    if (import.version() < 1)
      return error(ErrorCode::kBadModel, "opset {} of domain '{}' does not exist", import.version(), domain);
    if (!opsets.emplace(domain, import.version()).second)
      return error(ErrorCode::kBadModel, "domain '{}' is imported twice", domain);
  }
  return opsets;
}

Result<FunctionTable> read_functions(onnx_pb::ModelProto& model) {
  FunctionTable table;
  for (FunctionProto& function : *model.mutable_functions()) {
    if (!table
             .emplace(FunctionKey(canonical_domain(function.domain()), function.name(), function.overload()), &function)
             .second) {
      return error(ErrorCode::kBadModel, "function '{}' of domain '{}' is defined twice", function.name(),
                   function.domain());
    }
  }
  return table;
}

Status Scope::define(const std::string& name, Binding binding) {
  if (initializers_.contains(name) || !bindings_.emplace(name, binding).second) {
    return error(ErrorCode::kBadModel, "the name '{}' is defined twice", name);
  }
  return {};
}

Status Scope::add_initializer(onnx_pb::TensorProto& proto) {
  if (proto.name().empty()) return error(ErrorCode::kBadModel, "an initializer has no name");
  if (!initializers_.emplace(proto.name(), &proto).second)
    return error(ErrorCode::kBadModel, "initializer '{}' is defined twice", proto.name());
  return {};
}

Result<Binding> Importer::lookup(const std::string& name, Scope& scope) {
  for (Scope* s = &scope; s != nullptr; s = s->outer_) {
    if (const auto it = s->bindings_.find(name); it != s->bindings_.end()) return it->second;
    const auto it = s->initializers_.find(name);
    if (it == s->initializers_.end()) continue;
    onnx_pb::TensorProto& proto = *it->second;
    s->initializers_.erase(it);
    Binding binding;
    auto tensor = tensors_.read(proto);
    if (tensor.ok()) {
      binding.value = ops::constant(*graph_, std::move(*tensor), name);
      named_.insert(binding.value);
    } else if (tensor.status().code() == ErrorCode::kUnsupported) {
      note_unsupported("initializers of element type " + data_type_name(proto.data_type()), name);
      binding.unknown = true;
    } else {
      return tensor.status();
    }
    TENON_TRY(s->define(name, binding));
    return binding;
  }
  return error(ErrorCode::kBadModel, "'{}' is not an input, an initializer or the output of a node", name);
}

Status Importer::bind_output(const std::string& name, const Binding& binding, Scope& scope) {
  if (name.empty()) return {};
  Value* value = binding.value;
  if (value != nullptr && !value->is_input() && named_.insert(value).second) value->set_name(graph_->unique_name(name));
  return scope.define(name, binding);
}

Status Importer::poison_outputs(const NodeProto& node, Scope& scope) {
  for (const std::string& name : node.output())
    if (!name.empty()) TENON_TRY(scope.define(name, {.unknown = true}));
  return {};
}

void Importer::note_unsupported(const std::string& what, const std::string& node) {
  auto it =
      std::find_if(unsupported_.begin(), unsupported_.end(), [&](const auto& entry) { return entry.first == what; });
  if (it == unsupported_.end()) it = unsupported_.insert(it, {what, {}});
  if (std::find(it->second.begin(), it->second.end(), node) == it->second.end()) it->second.push_back(node);
}

Status Importer::unsupported() const {
  std::string list;
  for (const auto& [what, nodes] : unsupported_) {
    list += "\n  " + what + ":";
    for (const std::string& node : nodes) list += (node == nodes.front() ? " '" : ", '") + node + "'";
  }
  return error(ErrorCode::kUnsupported,
               "the model uses what Tenon does not support (it knows opsets {} to {}; --plugins LIB.so adds operators):{}",
               kOldestOpset, kNewestOpset, list);
}

Status Importer::import_initializers(GraphProto& graph, Scope& scope) {
  for (onnx_pb::TensorProto& proto : *graph.mutable_initializer()) TENON_TRY(scope.add_initializer(proto));
  for (const auto& sparse : graph.sparse_initializer()) {
    note_unsupported("sparse initializers", sparse.values().name());
    TENON_TRY(scope.define(sparse.values().name(), {.unknown = true}));
  }
  return {};
}

Status Importer::import_nodes(Nodes& nodes, const std::vector<std::string>& wanted, Scope& scope, const Frame& frame) {
  TENON_ASSIGN(const std::vector<int> order, needed_order(nodes, wanted));
  for (const int i : order) TENON_TRY(import_node(nodes[i], scope, frame));
  return {};
}

Status Importer::import_node(NodeProto& node, Scope& scope, const Frame& frame) {
  if (++imported_ > kMaxNodes)
    return error(ErrorCode::kBadModel, "more than {} nodes after functions and loops are expanded", kMaxNodes);
  return import_operator(node, scope, frame)
      .with_context(fmt::format("node '{}' ({})", node_label(node), node.op_type()));
}

Status Importer::import_operator(NodeProto& node, Scope& scope, const Frame& frame) {
  const std::string domain = canonical_domain(node.domain());
  const auto function = functions_.find(FunctionKey(domain, node.op_type(), node.overload()));
  const OpRow* row = nullptr;
  int64_t opset = 0;
  if (function == functions_.end()) {
    const auto version = frame.opsets.find(domain);
    if (version == frame.opsets.end())
      return error(ErrorCode::kBadModel, "the model imports no opset of domain '{}'", domain);
    opset = version->second;
    row = find_op(domain, node.op_type(), opset);
  }
  const std::string what = operator_label(domain, node.op_type(), opset);
  const std::string where = frame.origin + node_label(node);

  std::vector<Binding> inputs;
  bool unknown = false;
  for (const std::string& name : node.input()) {
    inputs.emplace_back();
    if (name.empty()) continue;
    TENON_ASSIGN(inputs.back(), lookup(name, scope));
    unknown |= inputs.back().unknown;
  }
  // A library that the user gave goes before the function that a model brings for those who lack it.
  const ops::PluginOperator* plugin = row == nullptr ? ops::find_plugin(ops::plugin_name(domain, node.op_type())) : nullptr;
  if (function != functions_.end() && plugin == nullptr) return call_function(*function->second, node, std::move(inputs), scope, frame);
  const bool known = row != nullptr || plugin != nullptr;
  if (!known) note_unsupported(what, where);
  if (!known || unknown) return poison_outputs(node, scope);

  for (int i = 0; row != nullptr && i < row->inputs; ++i) {
    if (i >= static_cast<int>(inputs.size()) || !inputs[static_cast<size_t>(i)].present())
      return error(ErrorCode::kBadModel, "input {} is missing", i);
  }
  const bool sequences =
      std::any_of(inputs.begin(), inputs.end(), [](const Binding& input) { return input.sequence != nullptr; });
  if (sequences && (row == nullptr || !row->takes_sequence))
    return error(ErrorCode::kBadModel, "a sequence is given where a tensor is wanted");
  Call call(*this, scope, frame, node, opset, inputs);
  Status status = row != nullptr ? row->import(call) : import_plugin(call, *plugin);
  if (!call.attribute_error().ok()) return call.attribute_error();
  for (int i = 0; status.ok() && i < node.output_size(); ++i) {
    if (call.wants(i) && !call.results()[static_cast<size_t>(i)].present()) {
      status = error(ErrorCode::kUnsupported, "output {} ('{}') is not supported", i, node.output(i));
    }
  }
  if (status.code() == ErrorCode::kUnsupported) {
    note_unsupported(what + ", " + status.message(), where);
    return poison_outputs(node, scope);
  }
  TENON_TRY(status);
  for (int i = 0; i < node.output_size(); ++i)
    TENON_TRY(bind_output(node.output(i), call.results()[static_cast<size_t>(i)], scope));
  return {};
}

Status Importer::call_function(FunctionProto& function, const NodeProto& node, std::vector<Binding> inputs,
                               Scope& scope, const Frame& frame) {
  int depth = 0;
  for (const Frame* f = &frame; f != nullptr; f = f->caller) {
    if (f->function == &function) return error(ErrorCode::kBadModel, "function '{}' calls itself", function.name());
    if (++depth > kMaxCallDepth)
      return error(ErrorCode::kBadModel, "functions call each other more than {} deep", kMaxCallDepth);
  }
  if (static_cast<int>(inputs.size()) > function.input_size() || node.output_size() > function.output_size()) {
    return error(ErrorCode::kBadModel, "function '{}' has {} inputs and {} outputs, the node gives {} and takes {}",
                 function.name(), function.input_size(), function.output_size(), inputs.size(), node.output_size());
  }
  Frame inner{&function, &frame, frame.origin + node_label(node) + "/", {}, {}};
  TENON_ASSIGN(inner.opsets, read_opsets(function.opset_import()));
  inner.opsets.insert(frame.opsets.begin(), frame.opsets.end());
  for (AttributeProto& attribute : *function.mutable_attribute_proto()) inner.attributes[attribute.name()] = &attribute;
  for (const AttributeProto& attribute : node.attribute()) {
    if (attribute.ref_attr_name().empty()) {
      inner.attributes[attribute.name()] = const_cast<AttributeProto*>(&attribute);
    } else if (const auto it = frame.attributes.find(attribute.ref_attr_name()); it != frame.attributes.end()) {
      inner.attributes[attribute.name()] = it->second;
    }
  }
  Scope body;
  inputs.resize(static_cast<size_t>(function.input_size()));
  for (int i = 0; i < function.input_size(); ++i)
    TENON_TRY(body.define(function.input(i), inputs[static_cast<size_t>(i)]));
  const std::vector<std::string> wanted(function.output().begin(), function.output().begin() + node.output_size());
  TENON_TRY(import_nodes(*function.mutable_node(), wanted, body, inner));
  for (int i = 0; i < node.output_size(); ++i) {
    if (node.output(i).empty()) continue;
    TENON_ASSIGN(const Binding output, lookup(function.output(i), body));
    // What the call made takes the caller's name for it.
    const Value* value = output.value;
    if (value != nullptr && !value->is_input() && value->producer()->origin().starts_with(inner.origin))
      named_.erase(value);
    TENON_TRY(bind_output(node.output(i), output, scope));
  }
  return {};
}

Result<std::vector<Value*>> Importer::inline_subgraph(GraphProto& graph, std::span<Value* const> inputs, Scope& outer,
                                                      const Frame& frame) {
  if (static_cast<int>(inputs.size()) != graph.input_size()) {
    return error(ErrorCode::kBadModel, "subgraph '{}' has {} inputs, {} are given", graph.name(), graph.input_size(),
                 inputs.size());
  }
  Scope scope(&outer);
  TENON_TRY(import_initializers(graph, scope));
  for (int i = 0; i < graph.input_size(); ++i) {
    Value* value = inputs[static_cast<size_t>(i)];
    TENON_TRY(scope.define(graph.input(i).name(), {.value = value, .unknown = value == nullptr}));
  }
  std::vector<std::string> wanted;
  for (const auto& output : graph.output()) wanted.push_back(output.name());
  TENON_TRY(import_nodes(*graph.mutable_node(), wanted, scope, frame));
  std::vector<Value*> outputs;
  for (const std::string& name : wanted) {
    TENON_ASSIGN(const Binding binding, lookup(name, scope));
    outputs.push_back(binding.value);
  }
  return outputs;
}

}  // namespace tenon::onnx
