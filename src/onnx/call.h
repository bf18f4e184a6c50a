// One ONNX node as the functions of the operator table see it: inputs as IR values, attributes with defaults
// (references to a function's attributes resolved), and the means to emit IR nodes.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/create.h"
#include "ops/plugin_host.h"

namespace tenon::onnx_pb {
class AttributeProto;
class GraphProto;
class NodeProto;
}  // namespace tenon::onnx_pb

namespace tenon::onnx {

using ir::Attrs;
using ir::Dim;
using ir::Op;
using ir::Shape;
using ir::Tensor;
using ir::Value;

class Importer;
struct Frame;

// What a name of the file stands for.
struct Binding {
  Value* value = nullptr;  // null: an optional input that is absent, a sequence, or unknown
  std::shared_ptr<const std::vector<Value*>> sequence = nullptr;
  bool unknown = false;  // computed by something that cannot be imported

  bool present() const { return value != nullptr || sequence != nullptr; }
};
class Scope;

// AttributeProto.AttributeType
enum class AttrType {
  kUndefined = 0,
  kFloat = 1,
  kInt = 2,
  kString = 3,
  kTensor = 4,
  kGraph = 5,
  kFloats = 6,
  kInts = 7,
  kStrings = 8
};

class Call {
 public:
  Call(Importer& importer, Scope& scope, const Frame& frame, onnx_pb::NodeProto& node, int64_t opset,
       const std::vector<Binding>& inputs);

  int64_t opset() const { return opset_; }  // version of the operator's own domain
  ir::Graph& graph() const;

  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  // Null for an absent input. Those that the table counts as required are never null.
  Value* input(int i) const { return i < num_inputs() ? inputs_[static_cast<size_t>(i)] : nullptr; }
  std::span<Value* const> inputs() const { return inputs_; }
  // The elements of an input that is a sequence. Errors: unsupported when it is none.
  Result<std::vector<Value*>> sequence(int i) const;
  int num_outputs() const { return static_cast<int>(results_.size()); }
  // True when output i has a name: somebody may use it.
  bool wants(int i) const;

  // Attributes, or the fallback where absent. One of the wrong type makes the import of this node fail.
  bool has(std::string_view name) const { return find(name) != nullptr; }
  std::vector<std::pair<std::string, AttrType>> attributes() const;  // all that the node has
  int64_t integer(std::string_view name, int64_t fallback);
  double number(std::string_view name, double fallback);
  std::string text(std::string_view name, std::string_view fallback);
  std::vector<int64_t> integers(std::string_view name);
  std::vector<float> numbers(std::string_view name);
  std::vector<std::string> texts(std::string_view name);
  Result<Tensor> tensor(std::string_view name);
  onnx_pb::GraphProto* subgraph(std::string_view name);
  const Status& attribute_error() const { return attribute_error_; }

  // Creates an IR node with the ONNX node's name as its origin; its first output.
  Result<Value*> emit(Op op, std::vector<Value*> inputs, Attrs attrs = {});
  // The same for ops of several outputs: the node.
  Result<ir::Node*> emit_node(Op op, std::vector<Value*> inputs, Attrs attrs = {});
  Result<ir::Node*> emit_plugin(const ops::PluginOperator& op, const ops::PluginAttributes& attributes);
  // Defines output i of the ONNX node.
  Status yield(Value* value, int i = 0);
  Status yield(Result<Value*> value, int i = 0);
  Status yield(Op op, std::vector<Value*> inputs, Attrs attrs = {}) {
    return yield(emit(op, std::move(inputs), std::move(attrs)));
  }
  Status yield_sequence(std::vector<Value*> values);  // as output 0
  std::span<const Binding> results() const { return results_; }

  // Contents of an input that must be known while the graph is built. Errors: unsupported when they depend on the data
  // of a run.
  Result<std::vector<Dim>> dims(int i) const;
  Result<std::vector<int64_t>> integers_of(int i) const;
  Result<Tensor> constant_of(int i) const;

  // Shorthands.
  Value* literal(Tensor tensor) const;
  Value* scalar(DType dtype, double value) const { return literal(Tensor::scalar(dtype, value)); }
  Value* parameter(Tensor tensor) const;  // a constant under the name of output 0
  Result<Value*> reshape(Value* x, Shape shape);
  Result<Value*> transpose(Value* x, std::vector<int64_t> perm);
  Result<Value*> cast(Value* x, DType to);
  // op(x, y) for a number y of x's type.
  Result<Value*> with(Op op, Value* x, double y) { return emit(op, {x, scalar(x->dtype(), y)}); }
  // start, start + 1, … of a number of elements, as i64 [size].
  Result<Value*> iota(Dim start, Dim size);
  Result<Value*> expand(Value* x, Shape shape);
  // x[..., start:end, ...] along one axis; start and end lie within the axis.
  Result<Value*> slice(Value* x, int axis, Dim start, Dim end);
  // An axis in [-rank, rank) as one in [0, rank).
  Result<int> axis(int64_t axis, int rank) const;
  Result<std::vector<int64_t>> axes(std::vector<int64_t> axes, int rank) const;  // sorted; duplicates are an error
  // The size of two axes that broadcast; symbols that differ are assumed to be equal.
  Result<Dim> broadcast(const Dim& a, const Dim& b) const;
  Result<Shape> broadcast(const Shape& a, const Shape& b) const;
  // The first `count` elements of x along an axis, count being a scalar i64 value that a run computes: the size becomes
  // a symbol of its own, at most that of the axis.
  Result<Value*> first_elements(Value* x, int axis, Value* count);
  // Two sizes that must be equal, assumed where they are symbols.
  Status same(const Dim& a, const Dim& b) const;
  // A fact about sizes that the import relies on, for the user and the runtime: symbol <= limit.
  void assume_at_most(const Dim& size, int64_t limit) const;
  // True when `size` is at least 0 by what was assumed so far.
  bool is_natural(const Dim& size) const;

  // Imports a subgraph attribute in place: its outputs for these inputs. A null output is one that cannot be imported.
  Result<std::vector<Value*>> inline_subgraph(onnx_pb::GraphProto& graph, std::span<Value* const> inputs);

 private:
  onnx_pb::AttributeProto* find(std::string_view name) const;
  onnx_pb::AttributeProto* find(std::string_view name, AttrType type);

  Importer& importer_;
  Scope& scope_;
  const Frame& frame_;
  onnx_pb::NodeProto& node_;
  int64_t opset_;
  std::vector<Value*> inputs_;
  std::vector<std::shared_ptr<const std::vector<Value*>>> sequences_;
  std::vector<Binding> results_;
  Status attribute_error_;
};

}  // namespace tenon::onnx
