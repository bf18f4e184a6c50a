// What is in an ONNX file, read without building a graph.
#include <algorithm>

#include "base/checked.h"
#include "onnx/importer.h"
#include "onnx/op_table.h"

namespace tenon::onnx {
namespace {

using onnx_pb::GraphProto;
using onnx_pb::NodeProto;

std::string type_text(int32_t data_type, const std::string& sizes) {
  const auto dtype = dtype_of(data_type);
  return (dtype.ok() ? std::string(dtype_name(*dtype)) : data_type_name(data_type)) + sizes;
}

FileReport::Port port_of(const onnx_pb::ValueInfoProto& info) {
  if (!info.type().has_tensor_type()) return {info.name(), "no tensor"};
  const auto& tensor = info.type().tensor_type();
  if (!tensor.has_shape()) return {info.name(), type_text(tensor.elem_type(), "[…]")};
  std::string sizes;
  for (const auto& dim : tensor.shape().dim()) {
    if (!sizes.empty()) sizes += ",";
    sizes += dim.has_dim_param() && !dim.dim_param().empty() ? dim.dim_param()
             : dim.has_dim_value()                           ? std::to_string(dim.dim_value())
                                                             : "?";
  }
  return {info.name(), type_text(tensor.elem_type(), "[" + sizes + "]")};
}

FileReport::Parameter parameter_of(const onnx_pb::TensorProto& proto) {
  const std::vector<int64_t> shape(proto.dims().begin(), proto.dims().end());
  FileReport::Parameter parameter;
  parameter.name = proto.name();
  parameter.type = type_text(proto.data_type(), ir::to_string(ir::to_shape(shape)));
  parameter.elements = checked_numel(shape).value_or(0);
  if (const auto dtype = dtype_of(proto.data_type()); dtype.ok()) {
    parameter.bytes = checked_mul(parameter.elements, static_cast<int64_t>(dtype_size(*dtype))).value_or(0);
  }
  parameter.external = proto.data_location() == 1;
  return parameter;
}

// Counts operators, by domain and name.
class Census {
 public:
  explicit Census(const FunctionTable& functions) : functions_(functions) {}

  void count(const google::protobuf::RepeatedPtrField<NodeProto>& nodes, const Opsets& opsets, FileReport& report) {
    for (const NodeProto& node : nodes) {
      count_node(node, opsets);
      for (const auto& attribute : node.attribute()) {
        if (attribute.has_t() && attribute.t().dims_size() > 0 && node.op_type() == "Constant") {
          report.parameters.push_back(parameter_of(attribute.t()));
          if (report.parameters.back().name.empty()) report.parameters.back().name = node_label(node);
        }
        if (attribute.has_g()) count_graph(attribute.g(), opsets, report);
      }
    }
  }

  void count_graph(const GraphProto& graph, const Opsets& opsets, FileReport& report) {
    for (const auto& proto : graph.initializer()) report.parameters.push_back(parameter_of(proto));
    count(graph.node(), opsets, report);
  }

  std::vector<FileReport::Operator> result() const {
    std::vector<FileReport::Operator> operators;
    for (const auto& [key, found] : operators_) operators.push_back(found);
    return operators;
  }

 private:
  void count_node(const NodeProto& node, const Opsets& opsets) {
    const std::string domain = canonical_domain(node.domain());
    const auto version = opsets.find(domain);
    FileReport::Operator& found = operators_[{domain, node.op_type()}];
    if (found.count++ == 0) {
      found.domain = domain;
      found.name = node.op_type();
      found.opset = version == opsets.end() ? 0 : version->second;
    }
    found.supported = functions_.contains(FunctionKey(domain, node.op_type(), node.overload())) ||
                      find_op(domain, node.op_type(), found.opset) != nullptr ||
                      ops::find_plugin(ops::plugin_name(domain, node.op_type())) != nullptr;
    if (!found.supported) found.nodes.push_back(node_label(node));
  }

  const FunctionTable& functions_;
  std::map<std::pair<std::string, std::string>, FileReport::Operator> operators_;
};

}  // namespace

Result<FileReport> survey(const std::string& path) {
  TENON_ASSIGN(const auto source, read_source(path));
  onnx_pb::ModelProto& model = source->model;
  const GraphProto& graph = model.graph();
  FileReport report;
  report.producer = model.producer_name();
  if (!model.producer_version().empty()) report.producer += " " + model.producer_version();
  report.ir_version = model.ir_version();
  for (const auto& import : model.opset_import())
    report.opsets.emplace_back(canonical_domain(import.domain()), import.version());
  for (const auto& entry : model.metadata_props()) report.metadata.emplace(entry.key(), entry.value());

  auto opsets = read_opsets(model.opset_import());
  if (!opsets.ok()) return opsets.status().with_context(path);
  auto functions = read_functions(model);
  if (!functions.ok()) return functions.status().with_context(path);
  Census census(*functions);
  census.count_graph(graph, *opsets, report);
  for (const auto& [key, function] : *functions) {
    auto inner = read_opsets(function->opset_import());
    if (!inner.ok()) return inner.status().with_context(path);
    inner->insert(opsets->begin(), opsets->end());
    census.count(function->node(), *inner, report);
    report.functions.push_back(std::get<0>(key) + (std::get<0>(key).empty() ? "" : ".") + std::get<1>(key));
  }
  report.operators = census.result();

  for (const auto& info : graph.input()) {
    const bool weight = std::any_of(graph.initializer().begin(), graph.initializer().end(),
                                    [&](const auto& t) { return t.name() == info.name(); });
    if (!weight) report.inputs.push_back(port_of(info));
  }
  for (const auto& info : graph.output()) report.outputs.push_back(port_of(info));
  return report;
}

}  // namespace tenon::onnx
