#include "onnx/export/graph_writer.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include "onnx/tensors.h"
#include "ops/interpret.h"

namespace tenon::onnx {
namespace {

// AttributeProto.AttributeType
enum AttributeType { kFloat = 1, kInt = 2, kString = 3, kInts = 7 };

void write_attribute(onnx_pb::NodeProto& node, const std::string& name, const OutAttribute& value) {
  onnx_pb::AttributeProto& a = *node.add_attribute();
  a.set_name(name);
  if (const auto* i = std::get_if<int64_t>(&value)) {
    a.set_type(kInt);
    a.set_i(*i);
  } else if (const auto* f = std::get_if<double>(&value)) {
    a.set_type(kFloat);
    a.set_f(static_cast<float>(*f));
  } else if (const auto* s = std::get_if<std::string>(&value)) {
    a.set_type(kString);
    a.set_s(*s);
  } else {
    a.set_type(kInts);
    for (const int64_t v : std::get<std::vector<int64_t>>(value)) a.add_ints(v);
  }
}

}  // namespace

int32_t data_type_of(DType dtype) {
  for (int32_t code = 1; code < 32; ++code)
    if (const auto known = dtype_of(code); known.ok() && *known == dtype) return code;
  return 0;
}

GraphWriter::GraphWriter(const ir::Graph& source, onnx_pb::GraphProto& target) : source_(source), target_(target) {
  // Users know these names; no other value may take them.
  for (const auto& input : source.inputs()) used_.insert(input->name());
  for (const ir::Output& output : source.outputs()) used_.insert(output.name);
  for (const auto& input : source.inputs()) names_[input.get()] = input->name();
}

void GraphWriter::fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

std::string GraphWriter::fresh(std::string_view base) {
  std::string name(base.empty() ? "value" : base);
  while (!used_.insert(name).second) name = fmt::format("{}_{}", base, ++counter_);
  return name;
}

void GraphWriter::write_initializer(const std::string& name, const ir::Tensor& tensor) {
  onnx_pb::TensorProto& proto = *target_.add_initializer();
  proto.set_name(name);
  proto.set_data_type(data_type_of(tensor.dtype()));
  for (const int64_t d : tensor.shape()) proto.add_dims(d);
  proto.set_raw_data(tensor.data(), tensor.bytes());
}

std::string GraphWriter::name(const ir::Value* value) {
  if (value == nullptr) return "";
  if (const auto it = names_.find(value); it != names_.end()) return it->second;
  std::string name = fresh(value->name());
  if (ops::is_constant_expression(*value)) {
    const auto tensor = ops::evaluate_constant(*value);
    if (tensor.ok())
      write_initializer(name, *tensor);
    else
      fail(tensor.status());
  }
  return names_[value] = std::move(name);
}

std::vector<std::string> GraphWriter::add_many(std::string_view op, const std::vector<std::string>& inputs, int outputs,
                                               const OutAttributes& attributes) {
  onnx_pb::NodeProto& node = *target_.add_node();
  node.set_op_type(std::string(op));
  node.set_name(fmt::format("{}_{}", op, target_.node_size()));
  for (const std::string& input : inputs) node.add_input(input);
  std::vector<std::string> names;
  for (int i = 0; i < outputs; ++i) {
    names.push_back(fresh(fmt::format("{}_{}_out{}", op, target_.node_size(), i)));
    node.add_output(names.back());
  }
  for (const auto& [name, value] : attributes) write_attribute(node, name, value);
  return names;
}

std::string GraphWriter::add(std::string_view op, const std::vector<std::string>& inputs,
                             const OutAttributes& attributes, std::string_view domain) {
  std::string name = add_many(op, inputs, 1, attributes)[0];
  target_.mutable_node(target_.node_size() - 1)->set_domain(std::string(domain));
  return name;
}

void GraphWriter::add_as(const ir::Value* value, std::string_view op, const std::vector<std::string>& inputs,
                         const OutAttributes& attributes, std::string_view domain) {
  add(op, inputs, attributes, domain);
  onnx_pb::NodeProto& node = *target_.mutable_node(target_.node_size() - 1);
  *node.mutable_output(0) = name(value);
  if (const ir::Node* from = value->producer(); from != nullptr && !from->origin().empty())
    node.set_name(fmt::format("{}_{}", from->origin(), target_.node_size()));
}

std::string GraphWriter::tensor(const ir::Tensor& tensor) {
  std::string name = fresh("constant");
  write_initializer(name, tensor);
  return name;
}

std::string GraphWriter::integers(const std::vector<int64_t>& values) {
  std::string& name = integers_[fmt::format("{}", values)];
  if (name.empty()) name = tensor(ir::Tensor::ints(values));
  return name;
}

std::string GraphWriter::integer(int64_t value) { return number(DType::kI64, static_cast<double>(value)); }

std::string GraphWriter::number(DType dtype, double value) {
  std::string& name = integers_[fmt::format("{} {}", dtype_name(dtype), value)];
  if (name.empty()) name = tensor(ir::Tensor::scalar(dtype, value));
  return name;
}

// From the first input that has an axis of this size.
std::string GraphWriter::symbol(const std::string& name) {
  for (const auto& input : source_.inputs()) {
    for (int axis = 0; axis < input->rank(); ++axis) {
      if (input->shape()[static_cast<size_t>(axis)] != ir::Dim::symbol(name)) continue;
      std::string& shape = sizes_["shape of " + input->name()];
      if (shape.empty()) shape = add("Shape", {input->name()});
      return add("Gather", {shape, integers({axis})}, {{"axis", int64_t{0}}});
    }
  }
  fail(error(ErrorCode::kUnsupported, "the size '{}' is no input's: it cannot be computed in ONNX", name));
  return "";
}

std::string GraphWriter::atom(const ir::Atom& atom) {
  if (atom.kind == ir::Atom::Kind::kSymbol) return symbol(atom.text);
  const std::string a = size_1(atom.args[0]), b = size_1(atom.args[1]);
  switch (atom.kind) {
    case ir::Atom::Kind::kMin:
      return add("Min", {a, b});
    case ir::Atom::Kind::kMax:
      return add("Max", {a, b});
    case ir::Atom::Kind::kMod:
      return add("Mod", {a, b});
    default:  // ONNX's Div truncates, its Mod has the sign of b
      return add("Div", {add("Sub", {a, add("Mod", {a, b})}), b});
  }
}

std::string GraphWriter::size_1(const ir::Dim& dim) {
  if (dim.is_const()) return integers({dim.value()});
  const std::string text = dim.to_string();
  if (const auto it = sizes_.find(text); it != sizes_.end()) return it->second;
  std::string sum;
  for (const ir::Dim::Term& term : dim.terms()) {
    std::string product = term.coefficient == 1 && !term.atoms.empty() ? "" : integers({term.coefficient});
    for (const auto& a : term.atoms) {
      const std::string factor = atom(*a);
      product = product.empty() ? factor : add("Mul", {product, factor});
    }
    sum = sum.empty() ? product : add("Add", {sum, product});
  }
  return sizes_[text] = sum;
}

std::string GraphWriter::size(const ir::Dim& dim) {
  if (dim.is_const()) return integer(dim.value());
  std::string& name = sizes_["scalar " + dim.to_string()];
  if (name.empty()) name = add("Squeeze", {size_1(dim), integers({0})});
  return name;
}

std::string GraphWriter::sizes(const ir::Shape& shape) {
  if (ir::all_const(shape)) return integers(ir::const_values(shape));
  if (shape.size() == 1) return size_1(shape[0]);
  std::string& name = sizes_["list " + ir::to_string(shape)];
  if (!name.empty()) return name;
  std::vector<std::string> parts;
  for (const ir::Dim& d : shape) parts.push_back(size_1(d));
  return name = add("Concat", parts, {{"axis", int64_t{0}}});
}

}  // namespace tenon::onnx
