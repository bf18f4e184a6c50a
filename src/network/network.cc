// The Network itself: inputs, outputs, constants, and what every layer goes through.
#include "tenon/network.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>

#include "base/checked.h"
#include "ir/text.h"
#include "network/network_impl.h"
#include "ops/create.h"

namespace tenon {
namespace {

using ir::Attrs;
using ir::Op;

bool is_symbol_name(const std::string& name) {
  const auto ok = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; };
  return !name.empty() && !std::isdigit(static_cast<unsigned char>(name[0])) &&
         std::all_of(name.begin(), name.end(), ok);
}

std::string shape_text(const std::vector<int64_t>& shape) { return ir::to_string(ir::to_shape(shape)); }

}  // namespace

ir::Value& Value::get() const {
  if (value_ == nullptr) throw Error(ErrorCode::kInvalidArgument, "an absent value has no type");
  return *value_;
}

DType Value::dtype() const { return get().dtype(); }

int Value::rank() const { return get().rank(); }

int64_t Value::dim(int axis) const {
  const int i = axis < 0 ? axis + rank() : axis;
  if (i < 0 || i >= rank()) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("axis {} is out of range for {}", axis, type()));
  }
  const ir::Dim& d = get().shape()[static_cast<size_t>(i)];
  return d.is_const() ? d.value() : -1;
}

std::string Value::type() const { return get().type().to_string(); }

Weights Weights::from(std::string name, std::vector<int64_t> shape, std::vector<float> values) {
  if (checked_numel(shape) != static_cast<int64_t>(values.size())) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("weights '{}': {} values given for shape {}", name, values.size(), shape_text(shape)));
  }
  auto owner = std::make_shared<const std::vector<float>>(std::move(values));
  const void* data = owner->data();
  return {std::move(name), DType::kF32, std::move(shape), data, std::move(owner)};
}

// ---- What layers are made with
// ---------------------------------------------------------------------------------------

void Network::Impl::fail(const char* layer, const std::string& message) const {
  throw Error(ErrorCode::kInvalidArgument, fmt::format("{}{}{}: {}", scope, scope.empty() ? "" : "/", layer, message));
}

ir::Value* Network::Impl::own(const char* layer, Value value) const {
  ir::Value* v = NetworkAccess::get(value);
  if (v == nullptr) fail(layer, "an input is absent");
  const bool mine = v->producer() != nullptr ? &v->producer()->graph() == &graph
                                             : v->index() < static_cast<int>(graph.inputs().size()) &&
                                                   graph.inputs()[static_cast<size_t>(v->index())].get() == v;
  if (!mine) fail(layer, "an input belongs to another network");
  return v;
}

Value Network::Impl::emit(const char* layer, Op op, std::vector<Value> inputs, Attrs attrs) {
  std::vector<ir::Value*> values;
  for (Value in : inputs) values.push_back(own(layer, in));
  auto node = ops::create(graph, op, std::move(values), std::move(attrs));
  if (!node.ok()) fail(layer, node.status().message());
  (*node)->set_origin(scope.empty() ? layer : scope + "/" + layer);
  return NetworkAccess::wrap((*node)->output());
}

Value Network::Impl::literal(ir::Tensor tensor) { return NetworkAccess::wrap(ops::constant(graph, std::move(tensor))); }

ir::Value* Network::Impl::constant(const Weights& weights) {
  const std::string name = weights.name.empty() ? fmt::format("weights_{}", parameters.size()) : weights.name;
  const std::string layer = "weights '" + name + "'";
  if (!checked_numel(weights.shape))
    fail(layer.c_str(), "shape " + shape_text(weights.shape) + " has a negative or too large size");
  const auto* data = static_cast<const std::byte*>(weights.data);
  if (reinterpret_cast<uintptr_t>(data) % dtype_size(weights.dtype) != 0) {
    fail(layer.c_str(), fmt::format("the data is not aligned for {}", dtype_name(weights.dtype)));
  }
  ir::Tensor tensor(weights.dtype, weights.shape, weights.owner, data);
  if (const auto known = parameters.find(name); known != parameters.end()) {
    const ir::Tensor& before = *known->second->constant();
    const bool same = before.data() == data && before.dtype() == tensor.dtype() && before.shape() == tensor.shape();
    if (!same) fail(layer.c_str(), "the name is taken by a different weight");
    return known->second;
  }
  ir::Value* value = ops::constant(graph, std::move(tensor), name);
  parameters.emplace(name, value);
  return value;
}

Value Network::Impl::parameter(const Weights& weights) {
  ir::Value* value = constant(weights);
  if (value->dtype() == DType::kF32 || !is_float(value->dtype())) return NetworkAccess::wrap(value);
  // One widening per weight, however many layers use it.
  for (const ir::Use& use : value->uses()) {
    if (use.node->is(Op::k_cast) && use.node->attrs().dtype("to") == DType::kF32)
      return NetworkAccess::wrap(use.node->output());
  }
  return emit("widen", Op::k_cast, {NetworkAccess::wrap(value)}, {{"to", DType::kF32}});
}

// ---- Network
// ---------------------------------------------------------------------------------------------------------

Network::Network() : impl_(std::make_unique<Impl>()) {}
Network::~Network() = default;
Network::Network(Network&&) noexcept = default;
Network& Network::operator=(Network&&) noexcept = default;

Value Network::add_input(const std::string& name, DType dtype, const std::vector<Axis>& dims) {
  const std::string layer = "input '" + name + "'";
  ir::Shape shape;
  for (size_t i = 0; i < dims.size(); ++i) {
    const Axis& axis = dims[i];
    if (!axis.name.empty()) {
      if (!is_symbol_name(axis.name))
        impl_->fail(layer.c_str(), "'" + axis.name + "' is no name for an axis: letters, digits and _ only");
      shape.push_back(ir::Dim::symbol(axis.name));
    } else if (axis.size == -1) {
      std::string symbol = fmt::format("{}_{}", name, i);
      std::replace_if(
          symbol.begin(), symbol.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
      shape.push_back(ir::Dim::symbol(is_symbol_name(symbol) ? symbol : "axis_" + symbol));
    } else if (axis.size > 0) {
      shape.push_back(axis.size);
    } else {
      impl_->fail(layer.c_str(), fmt::format("size {} of axis {} is not positive and not -1", axis.size, i));
    }
  }
  ir::Value* value = impl_->graph.add_input(name, {dtype, std::move(shape)});
  if (value->name() != name) {
    impl_->fail(layer.c_str(), "the name is taken, or has other characters than letters, digits and _ . / : -");
  }
  return Value(value);
}

void Network::mark_output(Value value, const std::string& name) {
  const std::string layer = "output '" + name + "'";
  ir::Value* v = impl_->own(layer.c_str(), value);
  for (const ir::Output& out : impl_->graph.outputs()) {
    if (out.name == name) impl_->fail(layer.c_str(), "the name is taken");
  }
  impl_->graph.add_output(name, v);
}

void Network::set_scope(std::string scope) { impl_->scope = std::move(scope); }

Value Network::constant(const Weights& weights) { return impl_->parameter(weights); }

Value Network::scalar(double value, DType dtype) { return impl_->literal(ir::Tensor::scalar(dtype, value)); }

std::string Network::to_text() const { return ir::print(impl_->graph); }

// ---- Towards the compiler
// --------------------------------------------------------------------------------------------

namespace network {

ir::Graph& graph_of(Network& network) { return NetworkAccess::impl(network).graph; }

Result<std::unique_ptr<ir::Graph>> snapshot(const Network& network) {
  const auto& impl = NetworkAccess::impl(network);
  if (impl.graph.outputs().empty())
    return error(ErrorCode::kInvalidArgument, "the network has no output: mark_output names them");
  std::string missing;
  for (const auto& [name, value] : impl.parameters) {
    if (!value->constant()->has_data()) missing += "\n  " + name + ": " + value->type().to_string();
  }
  if (!missing.empty()) return error(ErrorCode::kInvalidArgument, "weights declared without data:{}", missing);
  auto graph = impl.graph.clone();
  TENON_TRY(ops::apply_assumptions(*graph));
  return graph;
}

}  // namespace network
}  // namespace tenon
