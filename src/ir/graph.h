// The intermediate representation: a typed graph in SSA form.
//
// A Graph owns its Nodes in topological order; a Node owns the Values that it defines. Every Value has a type whose
// shape is symbolic (ir/dim.h). Small integer Values also carry their contents as Dims where those are known, so shape
// arithmetic disappears as the graph is built.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ir/dim.h"
#include "ir/tensor.h"

namespace tenon::ir {

enum class Op : uint16_t {
#define TENON_OP(name) k_##name,
#include "ir/op_list.inc"
#undef TENON_OP
};
inline constexpr int kOpCount = 0
#define TENON_OP(name) +1
#include "ir/op_list.inc"
#undef TENON_OP
    ;

std::string_view op_name(Op op);
std::optional<Op> parse_op(std::string_view name);

struct TensorType {
  DType dtype = DType::kF32;
  Shape shape;

  int rank() const { return static_cast<int>(shape.size()); }
  bool operator==(const TensorType& o) const { return dtype == o.dtype && shape == o.shape; }
  std::string to_string() const;  // "f32[batch,seq,768]"
};

// What an attribute can hold. Booleans are integers 0 and 1.
using AttrValue =
    std::variant<int64_t, double, std::string, DType, std::vector<int64_t>, Shape, Tensor, std::vector<double>>;

// Named attributes, sorted by name. Each op's definition (ops/op_def.h) says which it has and their defaults; a Node
// stores all of them, defaults included, so readers need no fallback.
class Attrs {
 public:
  Attrs() = default;
  Attrs(std::initializer_list<std::pair<std::string, AttrValue>> values);

  const AttrValue* find(std::string_view name) const;
  void set(std::string_view name, AttrValue value);
  void erase(std::string_view name);
  const std::vector<std::pair<std::string, AttrValue>>& all() const { return values_; }

  // The value of an attribute that the op's definition guarantees; a missing one is a bug in Tenon.
  int64_t integer(std::string_view name) const { return get<int64_t>(name); }
  double number(std::string_view name) const { return get<double>(name); }
  const std::string& text(std::string_view name) const { return get<std::string>(name); }
  DType dtype(std::string_view name) const { return get<DType>(name); }
  const std::vector<int64_t>& integers(std::string_view name) const { return get<std::vector<int64_t>>(name); }
  const Shape& shape(std::string_view name) const { return get<Shape>(name); }
  const std::vector<double>& numbers(std::string_view name) const { return get<std::vector<double>>(name); }
  const Tensor& tensor(std::string_view name) const { return get<Tensor>(name); }

  bool operator==(const Attrs& o) const;

 private:
  template <class T>
  const T& get(std::string_view name) const;
  std::vector<std::pair<std::string, AttrValue>> values_;
};

bool same_attr(const AttrValue& a, const AttrValue& b);

// The contents of a small integer (or bool) tensor, as far as they are known symbolically.
struct KnownDims {
  std::vector<int64_t> shape;
  std::vector<Dim> values;  // row-major
};

class Node;
class Graph;

struct Use {
  Node* node = nullptr;
  int input = 0;
  bool operator==(const Use&) const = default;
};

class Value {
 public:
  const std::string& name() const { return name_; }
  const TensorType& type() const { return type_; }
  const Shape& shape() const { return type_.shape; }
  DType dtype() const { return type_.dtype; }
  int rank() const { return type_.rank(); }
  void set_type(TensorType type) { type_ = std::move(type); }
  void set_name(std::string name) { name_ = std::move(name); }

  Node* producer() const { return producer_; }  // null for a graph input
  int index() const { return index_; }          // which output of the producer, or which graph input
  bool is_input() const { return producer_ == nullptr; }
  bool is(Op op) const;
  const std::vector<Use>& uses() const { return uses_; }
  // True when this is a graph output.
  bool is_output() const;
  bool has_one_use() const { return uses_.size() == 1 && !is_output(); }

  const std::optional<KnownDims>& known() const { return known_; }
  void set_known(std::optional<KnownDims> known) { known_ = std::move(known); }
  // The tensor of a `constant` node; null otherwise.
  const Tensor* constant() const;

 private:
  friend class Graph;
  friend class Node;
  std::string name_;
  TensorType type_;
  Node* producer_ = nullptr;
  Graph* graph_ = nullptr;
  int index_ = 0;
  std::vector<Use> uses_;
  std::optional<KnownDims> known_;
};

class Node {
 public:
  Op op() const { return op_; }
  bool is(Op op) const { return op_ == op; }
  const Attrs& attrs() const { return attrs_; }
  Attrs& attrs() { return attrs_; }
  int num_inputs() const { return static_cast<int>(inputs_.size()); }
  int num_outputs() const { return static_cast<int>(outputs_.size()); }
  // Null for an optional input that is absent, and for any index beyond the inputs.
  Value* input(int i) const { return i < num_inputs() ? inputs_[static_cast<size_t>(i)] : nullptr; }
  Value* output(int i = 0) const { return outputs_[static_cast<size_t>(i)].get(); }
  std::span<Value* const> inputs() const { return inputs_; }
  // Where this came from, for messages: the names of the source model's nodes, joined by '+'.
  const std::string& origin() const { return origin_; }
  void set_origin(std::string origin) { origin_ = std::move(origin); }
  Graph& graph() const { return *graph_; }
  // "linear %12 (from /encoder/layer.0/MatMul)"
  std::string describe() const;

 private:
  friend class Graph;
  Op op_{};
  Attrs attrs_;
  std::vector<Value*> inputs_;
  std::vector<std::unique_ptr<Value>> outputs_;
  std::string origin_;
  Graph* graph_ = nullptr;
  std::list<std::unique_ptr<Node>>::iterator self_;
};

// A graph output: a value under the name that users see.
struct Output {
  std::string name;
  Value* value = nullptr;
};

class Graph {
 public:
  Graph() = default;
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  std::unique_ptr<Graph> clone() const;

  std::string name = "main";

  Value* add_input(std::string name, TensorType type);
  const std::vector<std::unique_ptr<Value>>& inputs() const { return inputs_; }
  void add_output(std::string name, Value* value);
  const std::vector<Output>& outputs() const { return outputs_; }
  void set_output(size_t i, Value* value);

  // Adds a node before `before` (at the end when null) with `types.size()` outputs. No checks and no inference: passes
  // and importers call ops::create, which does both.
  Node* add_node(Op op, std::vector<Value*> inputs, Attrs attrs, std::vector<TensorType> types, Node* before = nullptr);
  // Removes a node whose outputs have no uses.
  void erase(Node* node);
  void set_input(Node* node, int i, Value* value);
  // Every use of `from`, graph outputs included, becomes a use of `to`.
  void replace_all_uses(Value* from, Value* to);
  void move_before(Node* node, Node* before);
  // Puts the nodes into a topological order that keeps the present one where it can. Errors: bad-model (a cycle).
  Status sort();

  const std::list<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  Node* next(const Node* node) const;
  Value* find_value(std::string_view name) const;
  // A name that no value has yet: `base`, or base_1, base_2 …
  std::string unique_name(std::string_view base);

  // Symbols whose value comes from data, not from an input's shape: name -> a scalar i64 value that defines it, and an
  // upper bound over the other symbols.
  struct DataSymbol {
    Value* value = nullptr;
    Dim bound;
  };
  std::map<std::string, DataSymbol> data_symbols;
  // Equalities between sizes that inference assumed while nodes were created; ops::apply_assumptions settles them.
  std::vector<std::pair<Dim, Dim>> assumed_equal;

 private:
  friend class Value;
  void add_use(Value* value, Node* node, int input);
  void remove_use(Value* value, Node* node, int input);
  std::vector<std::unique_ptr<Value>> inputs_;
  std::vector<Output> outputs_;
  std::list<std::unique_ptr<Node>> nodes_;
  std::map<std::string, int, std::less<>> used_names_;
};

// A hash of structure, types, attributes and names: "did this pass change anything".
uint64_t fingerprint(const Graph& graph);

}  // namespace tenon::ir
