#include "onnx/call.h"

#include <algorithm>

#include "onnx/importer.h"
#include "ops/interpret.h"

namespace tenon::onnx {

using onnx_pb::AttributeProto;

Call::Call(Importer& importer, Scope& scope, const Frame& frame, onnx_pb::NodeProto& node, int64_t opset,
           const std::vector<Binding>& inputs)
    : importer_(importer),
      scope_(scope),
      frame_(frame),
      node_(node),
      opset_(opset),
      results_(static_cast<size_t>(node.output_size())) {
  for (const Binding& input : inputs) {
    inputs_.push_back(input.value);
    sequences_.push_back(input.sequence);
  }
}

ir::Graph& Call::graph() const { return *importer_.graph_; }

bool Call::wants(int i) const { return i < num_outputs() && !node_.output(i).empty(); }

// ---- Attributes
// ------------------------------------------------------------------------------------------------------

AttributeProto* Call::find(std::string_view name) const {
  for (AttributeProto& attribute : *node_.mutable_attribute()) {
    if (attribute.name() != name) continue;
    if (attribute.ref_attr_name().empty()) return &attribute;
    const auto it = frame_.attributes.find(attribute.ref_attr_name());
    return it == frame_.attributes.end() ? nullptr : it->second;
  }
  return nullptr;
}

AttributeProto* Call::find(std::string_view name, AttrType type) {
  AttributeProto* attribute = find(name);
  if (attribute == nullptr) return nullptr;
  const int32_t found = attribute->type();
  if (found == static_cast<int32_t>(type) || found == static_cast<int32_t>(AttrType::kUndefined)) return attribute;
  attribute_error_ =
      error(ErrorCode::kBadModel, "attribute '{}' has type {}, expected {}", name, found, static_cast<int>(type));
  return nullptr;
}

int64_t Call::integer(std::string_view name, int64_t fallback) {
  const AttributeProto* a = find(name, AttrType::kInt);
  return a ? a->i() : fallback;
}

double Call::number(std::string_view name, double fallback) {
  const AttributeProto* a = find(name, AttrType::kFloat);
  return a ? static_cast<double>(a->f()) : fallback;
}

std::string Call::text(std::string_view name, std::string_view fallback) {
  const AttributeProto* a = find(name, AttrType::kString);
  return a ? a->s() : std::string(fallback);
}

std::vector<int64_t> Call::integers(std::string_view name) {
  const AttributeProto* a = find(name, AttrType::kInts);
  return a ? std::vector<int64_t>(a->ints().begin(), a->ints().end()) : std::vector<int64_t>();
}

std::vector<float> Call::numbers(std::string_view name) {
  const AttributeProto* a = find(name, AttrType::kFloats);
  return a ? std::vector<float>(a->floats().begin(), a->floats().end()) : std::vector<float>();
}

std::vector<std::string> Call::texts(std::string_view name) {
  const AttributeProto* a = find(name, AttrType::kStrings);
  return a ? std::vector<std::string>(a->strings().begin(), a->strings().end()) : std::vector<std::string>();
}

Result<Tensor> Call::tensor(std::string_view name) {
  AttributeProto* a = find(name, AttrType::kTensor);
  if (a == nullptr || !a->has_t()) return error(ErrorCode::kBadModel, "attribute '{}' (a tensor) is missing", name);
  return importer_.tensors_.read(*a->mutable_t());
}

onnx_pb::GraphProto* Call::subgraph(std::string_view name) {
  AttributeProto* a = find(name, AttrType::kGraph);
  return a && a->has_g() ? a->mutable_g() : nullptr;
}

std::vector<std::pair<std::string, AttrType>> Call::attributes() const {
  std::vector<std::pair<std::string, AttrType>> all;
  for (const AttributeProto& attribute : node_.attribute()) {
    if (const AttributeProto* found = find(attribute.name())) all.emplace_back(attribute.name(), static_cast<AttrType>(found->type()));
  }
  return all;
}

// ---- Results
// ---------------------------------------------------------------------------------------------------------

Result<ir::Node*> Call::emit_node(Op op, std::vector<Value*> inputs, Attrs attrs) {
  TENON_ASSIGN(auto* node, ops::create(graph(), op, std::move(inputs), std::move(attrs)));
  node->set_origin(frame_.origin + node_label(node_));
  return node;
}

Result<ir::Node*> Call::emit_plugin(const ops::PluginOperator& op, const ops::PluginAttributes& attributes) {
  TENON_ASSIGN(auto* node, ops::create_plugin(graph(), op, attributes, inputs_));
  node->set_origin(frame_.origin + node_label(node_));
  return node;
}

Result<Value*> Call::emit(Op op, std::vector<Value*> inputs, Attrs attrs) {
  TENON_ASSIGN(auto* node, emit_node(op, std::move(inputs), std::move(attrs)));
  return node->output();
}

Status Call::yield(Value* value, int i) {
  if (i < num_outputs()) results_[static_cast<size_t>(i)].value = value;
  return {};
}

Status Call::yield(Result<Value*> value, int i) {
  TENON_TRY(value.status());
  return yield(*value, i);
}

Status Call::yield_sequence(std::vector<Value*> values) {
  if (num_outputs() > 0) results_[0].sequence = std::make_shared<const std::vector<Value*>>(std::move(values));
  return {};
}

Result<std::vector<Value*>> Call::sequence(int i) const {
  if (i >= num_inputs() || sequences_[static_cast<size_t>(i)] == nullptr)
    return error(ErrorCode::kUnsupported, "input {} is no sequence known here", i);
  return *sequences_[static_cast<size_t>(i)];
}

Result<std::vector<Value*>> Call::inline_subgraph(onnx_pb::GraphProto& body, std::span<Value* const> inputs) {
  return importer_.inline_subgraph(body, inputs, scope_, frame_);
}

// ---- Contents
// --------------------------------------------------------------------------------------------------------

Result<Tensor> Call::constant_of(int i) const {
  const Value* value = input(i);
  if (value == nullptr) return error(ErrorCode::kBadModel, "input {} is missing", i);
  if (const Tensor* tensor = value->constant()) return *tensor;
  if (const auto& known = value->known();
      known && std::all_of(known->values.begin(), known->values.end(), [](const Dim& d) { return d.is_const(); })) {
    std::byte* writable = nullptr;
    TENON_ASSIGN(Tensor tensor, Tensor::allocate(value->dtype(), known->shape, &writable));
    visit_dtype(value->dtype(), [&]<class T>() {
      for (const Dim& d : known->values) {
        const T element = convert<T>(d.value());
        std::memcpy(writable, &element, sizeof(T));
        writable += sizeof(T);
      }
    });
    return tensor;
  }
  if (ops::is_constant_expression(*value)) return ops::evaluate_constant(*value);
  return error(ErrorCode::kUnsupported, "input {} (%{}) must be constant, but is computed from the inputs of the model",
               i, value->name());
}

Result<std::vector<Dim>> Call::dims(int i) const {
  const Value* value = input(i);
  if (value != nullptr && value->known()) return value->known()->values;
  TENON_ASSIGN(const Tensor tensor, constant_of(i));
  if (tensor.numel() > ops::kMaxKnown)
    return error(ErrorCode::kBadModel, "input {} has {} elements, too many for sizes", i, tensor.numel());
  std::vector<Dim> dims;
  for (int64_t e = 0; e < tensor.numel(); ++e) dims.emplace_back(tensor.int_at(e));
  return dims;
}

Result<std::vector<int64_t>> Call::integers_of(int i) const {
  TENON_ASSIGN(const std::vector<Dim> sizes, dims(i));
  std::vector<int64_t> values;
  for (const Dim& d : sizes) {
    if (!d.is_const())
      return error(ErrorCode::kUnsupported, "input {} must be constant, but contains the size {}", i, d.to_string());
    values.push_back(d.value());
  }
  return values;
}

// ---- Shorthands
// ------------------------------------------------------------------------------------------------------

Value* Call::literal(Tensor tensor) const {
  Value* value = ops::constant(graph(), std::move(tensor));
  value->producer()->set_origin(frame_.origin + node_label(node_));
  return value;
}

Value* Call::parameter(Tensor tensor) const {
  Value* value = ops::constant(graph(), std::move(tensor), node_.output(0));
  importer_.named_.insert(value);
  return value;
}

Result<Value*> Call::reshape(Value* x, Shape shape) {
  if (shape == x->shape()) return x;
  return emit(Op::k_reshape, {x}, {{"shape", std::move(shape)}});
}

Result<Value*> Call::transpose(Value* x, std::vector<int64_t> perm) {
  bool moves = static_cast<int>(perm.size()) != x->rank();
  for (size_t i = 0; i < perm.size(); ++i) moves |= perm[i] != static_cast<int64_t>(i);
  if (!moves) return x;
  return emit(Op::k_transpose, {x}, {{"perm", std::move(perm)}});
}

Result<Value*> Call::cast(Value* x, DType to) {
  if (x->dtype() == to) return x;
  return emit(Op::k_cast, {x}, {{"to", to}});
}

Result<Value*> Call::expand(Value* x, Shape shape) {
  if (shape == x->shape()) return x;
  return emit(Op::k_expand, {x}, {{"shape", std::move(shape)}});
}

Result<Value*> Call::slice(Value* x, int axis, Dim start, Dim end) {
  if (start == Dim(0) && end == x->shape()[static_cast<size_t>(axis)]) return x;
  return emit(Op::k_slice, {x},
              {{"axes", std::vector<int64_t>{axis}},
               {"starts", Shape{std::move(start)}},
               {"ends", Shape{std::move(end)}},
               {"steps", std::vector<int64_t>{1}}});
}

Result<Value*> Call::iota(Dim start, Dim size) {
  return emit(Op::k_iota, {},
              {{"start", Shape{std::move(start)}}, {"size", Shape{std::move(size)}}, {"dtype", DType::kI64}});
}

Result<Value*> Call::first_elements(Value* x, int axis, Value* count) {
  const Dim most = x->shape()[static_cast<size_t>(axis)];
  if (ops::is_constant_expression(*count)) {
    TENON_ASSIGN(const Tensor known, ops::evaluate_constant(*count));
    return slice(x, axis, Dim(0), Dim(known.int_at(0)));
  }
  for (const auto& [name, symbol] : graph().data_symbols)
    if (symbol.value == count) return slice(x, axis, Dim(0), Dim::symbol(name));
  const std::string name = importer_.symbol(fmt::format("count of {}", node_label(node_)));
  graph().data_symbols[name] = {count, most};
  return slice(x, axis, Dim(0), Dim::symbol(name));
}

Result<int> Call::axis(int64_t axis, int rank) const {
  if (axis < -rank || axis >= rank)
    return error(ErrorCode::kBadModel, "axis {} is out of range for rank {}", axis, rank);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Result<std::vector<int64_t>> Call::axes(std::vector<int64_t> axes, int rank) const {
  for (int64_t& a : axes) {
    TENON_ASSIGN(a, axis(a, rank));
  }
  std::sort(axes.begin(), axes.end());
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end())
    return error(ErrorCode::kBadModel, "an axis is given twice");
  return axes;
}

Result<Dim> Call::broadcast(const Dim& a, const Dim& b) const {
  if (a == b || b == Dim(1)) return a;
  if (a == Dim(1)) return b;
  if (a.is_const() && b.is_const())
    return error(ErrorCode::kBadModel, "sizes {} and {} do not broadcast", a.to_string(), b.to_string());
  graph().assumed_equal.emplace_back(a, b);
  return b.is_const() ? b : a;
}

Result<Shape> Call::broadcast(const Shape& a, const Shape& b) const {
  const size_t rank = std::max(a.size(), b.size());
  Shape out(rank);
  for (size_t i = 0; i < rank; ++i) {
    const Dim x = i + a.size() < rank ? Dim(1) : a[i + a.size() - rank];
    const Dim y = i + b.size() < rank ? Dim(1) : b[i + b.size() - rank];
    TENON_ASSIGN(out[i], broadcast(x, y));
  }
  return out;
}

Status Call::same(const Dim& a, const Dim& b) const {
  if (a == b) return {};
  if (a.is_const() && b.is_const())
    return error(ErrorCode::kBadModel, "sizes {} and {} do not agree", a.to_string(), b.to_string());
  graph().assumed_equal.emplace_back(a, b);
  return {};
}

void Call::assume_at_most(const Dim& size, int64_t limit) const {
  // symbol + constant <= limit
  std::set<std::string> symbols;
  size.collect_symbols(symbols);
  if (symbols.size() != 1) return;
  const Dim offset = size - Dim::symbol(*symbols.begin());
  if (!offset.is_const()) return;
  const auto [it, fresh] = importer_.limits_.emplace(*symbols.begin(), limit - offset.value());
  if (!fresh) it->second = std::min(it->second, limit - offset.value());
}

bool Call::is_natural(const Dim& size) const { return size.at_least(0, importer_.limits_); }

}  // namespace tenon::onnx
