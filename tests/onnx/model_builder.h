// Small ONNX models for tests, made field by field, valid or not.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "onnx/import.h"
#include "onnx/onnx.pb.h"

namespace tenon::onnx::test {

enum ElementType {
  kFloat = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kHalf = 10,
  kDouble = 11,
  kBrain = 16
};

inline onnx_pb::AttributeProto int_attribute(const std::string& name, int64_t value) {
  onnx_pb::AttributeProto a;
  a.set_name(name);
  a.set_type(2);
  a.set_i(value);
  return a;
}
inline onnx_pb::AttributeProto float_attribute(const std::string& name, float value) {
  onnx_pb::AttributeProto a;
  a.set_name(name);
  a.set_type(1);
  a.set_f(value);
  return a;
}
inline onnx_pb::AttributeProto text_attribute(const std::string& name, const std::string& value) {
  onnx_pb::AttributeProto a;
  a.set_name(name);
  a.set_type(3);
  a.set_s(value);
  return a;
}
inline onnx_pb::AttributeProto ints_attribute(const std::string& name, const std::vector<int64_t>& values) {
  onnx_pb::AttributeProto a;
  a.set_name(name);
  a.set_type(7);
  for (const int64_t v : values) a.add_ints(v);
  return a;
}
inline onnx_pb::AttributeProto graph_attribute(const std::string& name, const onnx_pb::GraphProto& graph) {
  onnx_pb::AttributeProto a;
  a.set_name(name);
  a.set_type(5);
  *a.mutable_g() = graph;
  return a;
}
// The attribute of a function's node that takes the value of the function's own attribute.
inline onnx_pb::AttributeProto reference_attribute(const std::string& name, const std::string& of, int type) {
  onnx_pb::AttributeProto a;
  a.set_name(name);
  a.set_type(type);
  a.set_ref_attr_name(of);
  return a;
}

inline void set_port(onnx_pb::ValueInfoProto& port, const std::string& name, int type,
                     const std::vector<std::string>& shape) {
  port.set_name(name);
  auto& tensor = *port.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(type);
  tensor.mutable_shape();
  for (const std::string& size : shape) {
    auto& dim = *tensor.mutable_shape()->add_dim();
    const bool number = !size.empty() && (std::isdigit(static_cast<unsigned char>(size[0])) || size[0] == '-');
    if (number) dim.set_dim_value(std::stoll(size));
    if (!number && size != "?") dim.set_dim_param(size);
  }
}

struct ModelBuilder {
  onnx_pb::ModelProto model;
  onnx_pb::GraphProto& graph = *model.mutable_graph();

  explicit ModelBuilder(int64_t opset = 17) {
    model.set_ir_version(8);
    model.set_producer_name("test");
    import_opset(model, "", opset);
  }
  ModelBuilder(const ModelBuilder&) = delete;
  ModelBuilder& operator=(const ModelBuilder&) = delete;

  template <class Proto>
  static void import_opset(Proto& proto, const std::string& domain, int64_t version) {
    auto& opset = *proto.add_opset_import();
    opset.set_domain(domain);
    opset.set_version(version);
  }

  // Sizes are numbers, names, or "?" for an axis without a name.
  ModelBuilder& input(const std::string& name, int type, const std::vector<std::string>& shape) {
    set_port(*graph.add_input(), name, type, shape);
    return *this;
  }
  ModelBuilder& output(const std::string& name) {
    set_port(*graph.add_output(), name, kFloat, {});
    return *this;
  }

  template <class Body>
  static onnx_pb::NodeProto& add_node(Body& body, const std::string& op, const std::vector<std::string>& inputs,
                                      const std::vector<std::string>& outputs,
                                      const std::vector<onnx_pb::AttributeProto>& attributes = {}) {
    onnx_pb::NodeProto& node = *body.add_node();
    node.set_name("node_" + op + "_" + std::to_string(body.node_size()));
    node.set_op_type(op);
    for (const auto& name : inputs) node.add_input(name);
    for (const auto& name : outputs) node.add_output(name);
    for (const auto& attribute : attributes) *node.add_attribute() = attribute;
    return node;
  }
  onnx_pb::NodeProto& node(const std::string& op, const std::vector<std::string>& inputs,
                           const std::vector<std::string>& outputs,
                           const std::vector<onnx_pb::AttributeProto>& attributes = {}) {
    return add_node(graph, op, inputs, outputs, attributes);
  }

  onnx_pb::TensorProto& tensor(const std::string& name, int type, const std::vector<int64_t>& shape) {
    onnx_pb::TensorProto& proto = *graph.add_initializer();
    proto.set_name(name);
    proto.set_data_type(type);
    for (const int64_t d : shape) proto.add_dims(d);
    return proto;
  }
  ModelBuilder& ints(const std::string& name, const std::vector<int64_t>& values) {
    auto& proto = tensor(name, kInt64, {static_cast<int64_t>(values.size())});
    for (const int64_t v : values) proto.add_int64_data(v);
    return *this;
  }
  ModelBuilder& floats(const std::string& name, const std::vector<int64_t>& shape, const std::vector<float>& values) {
    auto& proto = tensor(name, kFloat, shape);
    for (const float v : values) proto.add_float_data(v);
    return *this;
  }

  std::string bytes() const { return model.SerializeAsString(); }
  Result<ir::Model> import(const std::string& folder = "", const ImportOptions& options = {}) const {
    return import_text(bytes(), folder, options);
  }
  static Result<ir::Model> import_text(const std::string& text, const std::string& folder = "",
                                       const ImportOptions& options = {}) {
    return import_bytes(std::as_bytes(std::span(text.data(), text.size())), folder, options);
  }
};

inline void set_external(onnx_pb::TensorProto& tensor, const std::string& location, const std::string& offset = "",
                         const std::string& length = "") {
  tensor.set_data_location(1);
  const auto add = [&](const std::string& key, const std::string& value) {
    if (value.empty()) return;
    auto& entry = *tensor.add_external_data();
    entry.set_key(key);
    entry.set_value(value);
  };
  add("location", location);
  add("offset", offset);
  add("length", length);
}

}  // namespace tenon::onnx::test
