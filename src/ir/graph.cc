#include "ir/graph.h"

#include <algorithm>
#include <cctype>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>
#include <unordered_set>

#include "base/hash.h"
#include "ir/text.h"

namespace tenon::ir {
namespace {

constexpr std::array<std::string_view, kOpCount> kOpNames = {
#define TENON_OP(name) #name,
#include "ir/op_list.inc"
#undef TENON_OP
};

[[noreturn]] void bug(const std::string& what) {
  std::fprintf(stderr, "tenon: internal error: %s\n", what.c_str());
  std::abort();
}

}  // namespace

std::string_view op_name(Op op) { return kOpNames[static_cast<size_t>(op)]; }

std::optional<Op> parse_op(std::string_view name) {
  for (size_t i = 0; i < kOpNames.size(); ++i)
    if (kOpNames[i] == name) return static_cast<Op>(i);
  return std::nullopt;
}

std::string TensorType::to_string() const { return std::string(dtype_name(dtype)) + ir::to_string(shape); }

Attrs::Attrs(std::initializer_list<std::pair<std::string, AttrValue>> values) {
  for (const auto& [name, value] : values) set(name, value);
}

const AttrValue* Attrs::find(std::string_view name) const {
  for (const auto& [key, value] : values_)
    if (key == name) return &value;
  return nullptr;
}

void Attrs::set(std::string_view name, AttrValue value) {
  auto it = std::lower_bound(values_.begin(), values_.end(), name, [](const auto& a, std::string_view b) { return a.first < b; });
  if (it != values_.end() && it->first == name) {
    it->second = std::move(value);
  } else {
    values_.insert(it, {std::string(name), std::move(value)});
  }
}

void Attrs::erase(std::string_view name) {
  std::erase_if(values_, [&](const auto& v) { return v.first == name; });
}

template <class T>
const T& Attrs::get(std::string_view name) const {
  const AttrValue* value = find(name);
  const T* typed = value != nullptr ? std::get_if<T>(value) : nullptr;
  if (typed == nullptr) bug("attribute '" + std::string(name) + "' is missing or of another kind");
  return *typed;
}
template const int64_t& Attrs::get(std::string_view) const;
template const double& Attrs::get(std::string_view) const;
template const std::string& Attrs::get(std::string_view) const;
template const DType& Attrs::get(std::string_view) const;
template const std::vector<int64_t>& Attrs::get(std::string_view) const;
template const Shape& Attrs::get(std::string_view) const;
template const Tensor& Attrs::get(std::string_view) const;
template const std::vector<double>& Attrs::get(std::string_view) const;

bool same_attr(const AttrValue& a, const AttrValue& b) {
  if (a.index() != b.index()) return false;
  if (const auto* t = std::get_if<Tensor>(&a)) return t->same_bytes(std::get<Tensor>(b));
  return std::visit(
      [&](const auto& x) {
        using T = std::decay_t<decltype(x)>;
        if constexpr (std::is_same_v<T, Tensor>) {
          return false;
        } else {
          return x == std::get<T>(b);
        }
      },
      a);
}

bool Attrs::operator==(const Attrs& o) const {
  return std::equal(values_.begin(), values_.end(), o.values_.begin(), o.values_.end(),
                    [](const auto& a, const auto& b) { return a.first == b.first && same_attr(a.second, b.second); });
}

bool Value::is(Op op) const { return producer_ != nullptr && producer_->op() == op; }

bool Value::is_output() const {
  return std::any_of(graph_->outputs().begin(), graph_->outputs().end(), [this](const Output& o) { return o.value == this; });
}

const Tensor* Value::constant() const { return is(Op::k_constant) ? &producer_->attrs().tensor("value") : nullptr; }

std::string Node::describe() const {
  std::string text = std::string(op_name(op_));
  if (!outputs_.empty()) text += " %" + outputs_[0]->name();
  if (!origin_.empty()) text += " (from " + origin_ + ")";
  return text;
}

Graph::~Graph() = default;

std::unique_ptr<Graph> Graph::clone() const {
  auto copy = std::make_unique<Graph>();
  copy->name = name;
  std::unordered_map<const Value*, Value*> map;
  const auto carry = [&](const Value& from, Value& to) {
    to.name_ = from.name_;
    to.known_ = from.known_;
    map[&from] = &to;
  };
  for (const auto& in : inputs_) carry(*in, *copy->add_input(in->name(), in->type()));
  for (const auto& node : nodes_) {
    std::vector<Value*> inputs;
    for (Value* v : node->inputs_) inputs.push_back(v ? map.at(v) : nullptr);
    std::vector<TensorType> types;
    for (const auto& out : node->outputs_) types.push_back(out->type());
    Node* made = copy->add_node(node->op_, std::move(inputs), node->attrs_, std::move(types));
    made->origin_ = node->origin_;
    for (int i = 0; i < node->num_outputs(); ++i) carry(*node->output(i), *made->output(i));
  }
  for (const Output& out : outputs_) copy->add_output(out.name, map.at(out.value));
  for (const auto& [symbol, data] : data_symbols) copy->data_symbols[symbol] = {map.at(data.value), data.bound};
  copy->assumed_equal = assumed_equal;
  copy->used_names_ = used_names_;
  return copy;
}

Value* Graph::add_input(std::string input_name, TensorType type) {
  auto value = std::make_unique<Value>();
  value->name_ = unique_name(input_name);
  value->type_ = std::move(type);
  value->graph_ = this;
  value->index_ = static_cast<int>(inputs_.size());
  inputs_.push_back(std::move(value));
  return inputs_.back().get();
}

void Graph::add_output(std::string output_name, Value* value) { outputs_.push_back({std::move(output_name), value}); }

void Graph::set_output(size_t i, Value* value) { outputs_[i].value = value; }

Node* Graph::add_node(Op op, std::vector<Value*> inputs, Attrs attrs, std::vector<TensorType> types, Node* before) {
  auto owned = std::make_unique<Node>();
  Node* node = owned.get();
  node->op_ = op;
  node->attrs_ = std::move(attrs);
  node->inputs_ = std::move(inputs);
  node->graph_ = this;
  for (int i = 0; i < node->num_inputs(); ++i) add_use(node->inputs_[static_cast<size_t>(i)], node, i);
  for (size_t i = 0; i < types.size(); ++i) {
    auto value = std::make_unique<Value>();
    value->name_ = unique_name(op_name(op));
    value->type_ = std::move(types[i]);
    value->producer_ = node;
    value->graph_ = this;
    value->index_ = static_cast<int>(i);
    node->outputs_.push_back(std::move(value));
  }
  node->self_ = nodes_.insert(before ? before->self_ : nodes_.end(), std::move(owned));
  return node;
}

void Graph::erase(Node* node) {
  for (const auto& out : node->outputs_)
    if (!out->uses_.empty() || out->is_output()) bug("erasing " + node->describe() + ", which is in use");
  for (int i = 0; i < node->num_inputs(); ++i) remove_use(node->input(i), node, i);
  nodes_.erase(node->self_);
}

void Graph::add_use(Value* value, Node* node, int input) {
  if (value != nullptr) value->uses_.push_back({node, input});
}

void Graph::remove_use(Value* value, Node* node, int input) {
  if (value != nullptr) std::erase(value->uses_, Use{node, input});
}

void Graph::set_input(Node* node, int i, Value* value) {
  Value*& slot = node->inputs_[static_cast<size_t>(i)];
  remove_use(slot, node, i);
  slot = value;
  add_use(slot, node, i);
}

void Graph::replace_all_uses(Value* from, Value* to) {
  if (from == to) return;
  const std::vector<Use> uses = from->uses_;
  for (const Use& use : uses) set_input(use.node, use.input, to);
  for (Output& out : outputs_)
    if (out.value == from) out.value = to;
  for (auto& [symbol, data] : data_symbols)
    if (data.value == from) data.value = to;
}

void Graph::move_before(Node* node, Node* before) { nodes_.splice(before ? before->self_ : nodes_.end(), nodes_, node->self_); }

Status Graph::sort() {
  std::unordered_map<const Node*, int> waiting;  // inputs not placed yet
  std::vector<Node*> ready;
  for (const auto& node : nodes_) {
    int count = 0;
    for (Value* v : node->inputs_) count += v != nullptr && v->producer_ != nullptr;
    waiting[node.get()] = count;
  }
  // A heap over present positions keeps the order stable.
  std::unordered_map<const Node*, int> position;
  int next_position = 0;
  for (const auto& node : nodes_) position[node.get()] = next_position++;
  const auto later = [&](Node* a, Node* b) { return position[a] > position[b]; };
  for (const auto& node : nodes_)
    if (waiting[node.get()] == 0) ready.push_back(node.get());
  std::make_heap(ready.begin(), ready.end(), later);
  std::vector<Node*> order;
  while (!ready.empty()) {
    std::pop_heap(ready.begin(), ready.end(), later);
    Node* node = ready.back();
    ready.pop_back();
    order.push_back(node);
    for (const auto& out : node->outputs_) {
      for (const Use& use : out->uses_) {
        if (--waiting[use.node] == 0) {
          ready.push_back(use.node);
          std::push_heap(ready.begin(), ready.end(), later);
        }
      }
    }
  }
  if (order.size() != nodes_.size()) {
    for (const auto& node : nodes_)
      if (waiting[node.get()] > 0) return error(ErrorCode::kBadModel, "the graph has a cycle through {}", node->describe());
  }
  for (Node* node : order) move_before(node, nullptr);
  return {};
}

Node* Graph::next(const Node* node) const {
  auto it = std::next(std::list<std::unique_ptr<Node>>::const_iterator(node->self_));
  return it == nodes_.end() ? nullptr : it->get();
}

Value* Graph::find_value(std::string_view value_name) const {
  for (const auto& in : inputs_)
    if (in->name() == value_name) return in.get();
  for (const auto& node : nodes_)
    for (const auto& out : node->outputs_)
      if (out->name() == value_name) return out.get();
  return nullptr;
}

std::string Graph::unique_name(std::string_view base) {
  // Names print as %name, so they keep to characters that the text form reads back.
  std::string clean(base.empty() ? "v" : base);
  for (char& c : clean)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '.' && c != '/' && c != ':' && c != '-') c = '_';
  auto it = used_names_.find(clean);
  if (it == used_names_.end()) {
    used_names_.emplace(clean, 0);
    return clean;
  }
  while (true) {
    std::string candidate = clean + "_" + std::to_string(++it->second);
    if (used_names_.emplace(candidate, 0).second) return candidate;
  }
}

uint64_t fingerprint(const Graph& graph) {
  const std::string text = print(graph);
  return checksum(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace tenon::ir
