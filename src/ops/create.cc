#include "ops/create.h"

#include <algorithm>

#include "ir/text.h"

namespace tenon::ops {
namespace {

constexpr int kMaxRank = 64;  // as the text form reads

// Attributes as the definition orders: unknown ones refused, kinds checked, defaults filled in.
Status complete_attrs(const OpDef& def, Attrs& attrs) {
  for (const auto& [name, value] : attrs.all()) {
    const auto it = std::ranges::find(def.attrs, std::string_view(name), [](const AttrDef& a) { return std::string_view(a.name); });
    if (it == def.attrs.end()) return error(ErrorCode::kBadModel, "unknown attribute '{}'", name);
    if (it->fallback.index() != value.index()) return error(ErrorCode::kBadModel, "attribute '{}' is of the wrong kind", name);
  }
  for (const AttrDef& def_attr : def.attrs) {
    if (attrs.find(def_attr.name) != nullptr) continue;
    if (def_attr.required) return error(ErrorCode::kBadModel, "attribute '{}' is missing", def_attr.name);
    attrs.set(def_attr.name, def_attr.fallback);
  }
  return {};
}

Status check_arity(const OpDef& def, std::span<Value* const> inputs) {
  const bool variadic = !def.inputs.empty() && def.inputs.back().arity == Arity::kVariadic;
  if (!variadic && inputs.size() > def.inputs.size()) {
    return error(ErrorCode::kBadModel, "{} inputs given, at most {} expected", inputs.size(), def.inputs.size());
  }
  for (size_t i = 0; i < def.inputs.size(); ++i) {
    if (def.inputs[i].arity != Arity::kOptional && (i >= inputs.size() || inputs[i] == nullptr)) {
      return error(ErrorCode::kBadModel, "input '{}' is missing", def.inputs[i].name);
    }
  }
  return {};
}

InferContext make_context(const Attrs& attrs, std::span<Value* const> inputs) {
  std::vector<InferContext::Input> info;
  for (const Value* v : inputs) {
    if (v == nullptr) {
      info.push_back({});
    } else {
      info.push_back({&v->type(), v->known() ? &*v->known() : nullptr, v->constant()});
    }
  }
  return InferContext(attrs, std::move(info));
}

std::string describe_call(Op op, std::span<Value* const> inputs) {
  std::string text = std::string(ir::op_name(op)) + "(";
  for (size_t i = 0; i < inputs.size(); ++i) {
    text += i ? ", " : "";
    text += inputs[i] ? "%" + inputs[i]->name() + ": " + inputs[i]->type().to_string() : "_";
  }
  return text + ")";
}

// The contents of small integer constants, for shape arithmetic.
std::optional<KnownDims> known_of(const Tensor& t) {
  if ((!is_integer(t.dtype()) && t.dtype() != DType::kBool) || !t.has_data() || t.numel() > kMaxKnown ||
      t.shape().size() > 4)
    return std::nullopt;
  KnownDims known{t.shape(), {}};
  for (int64_t i = 0; i < t.numel(); ++i) known.values.emplace_back(t.int_at(i));
  return known;
}

Status infer_node(InferContext& context, const OpDef& def, Op op, std::span<Value* const> inputs) {
  Status status = def.infer(context);
  for (const TensorType& type : context.types) {
    if (status.ok() && type.rank() > kMaxRank) status = error(ErrorCode::kBadModel, "rank {} is more than {}", type.rank(), kMaxRank);
  }
  return status.ok() ? status : Status(status.code(), describe_call(op, inputs) + ": " + status.message());
}

}  // namespace

Result<int> InferContext::axis(int64_t a, int rank) const {
  if (a < -rank || a >= rank) return error(ErrorCode::kBadModel, "axis {} is out of range for rank {}", a, rank);
  return static_cast<int>(a < 0 ? a + rank : a);
}

Result<Dim> InferContext::same(const Dim& a, const Dim& b) {
  if (a == b) return a;
  if (a.is_const() && b.is_const()) {
    return error(ErrorCode::kBadModel, "sizes {} and {} do not agree", a.to_string(), b.to_string());
  }
  assumed_equal.emplace_back(a, b);
  return a.is_const() ? a : (b.is_const() ? b : a);
}

Result<Dim> InferContext::broadcast(const Dim& a, const Dim& b) {
  if (a == Dim(1)) return b;
  if (b == Dim(1)) return a;
  return same(a, b);
}

Result<Shape> InferContext::broadcast(const Shape& a, const Shape& b) {
  const size_t rank = std::max(a.size(), b.size());
  Shape out(rank, Dim(1));
  for (size_t i = 0; i < rank; ++i) {
    const Dim x = i < rank - a.size() ? Dim(1) : a[i - (rank - a.size())];
    const Dim y = i < rank - b.size() ? Dim(1) : b[i - (rank - b.size())];
    TENON_ASSIGN(out[i], broadcast(x, y));
  }
  return out;
}

Result<Node*> create(Graph& graph, Op op, std::vector<Value*> inputs, Attrs attrs, Node* before) {
  const OpDef& def = op_def(op);
  const auto where = [&] { return describe_call(op, inputs); };
  if (Status s = check_arity(def, inputs); !s.ok()) return s.with_context(where());
  if (Status s = complete_attrs(def, attrs); !s.ok()) return s.with_context(where());
  InferContext context = make_context(attrs, inputs);
  TENON_TRY(infer_node(context, def, op, inputs));
  Node* node = graph.add_node(op, std::move(inputs), std::move(attrs), std::move(context.types), before);
  for (int i = 0; i < node->num_outputs(); ++i) node->output(i)->set_known(std::move(context.knowns[static_cast<size_t>(i)]));
  for (auto& equality : context.assumed_equal) graph.assumed_equal.push_back(std::move(equality));
  return node;
}

Value* constant(Graph& graph, Tensor tensor, std::string name, Node* before) {
  const std::string value_name = name;
  TensorType type{tensor.dtype(), ir::to_shape(tensor.shape())};
  auto known = known_of(tensor);
  Node* node = graph.add_node(Op::k_constant, {}, {{"value", std::move(tensor)}, {"name", std::move(name)}}, {std::move(type)}, before);
  if (!value_name.empty()) node->output()->set_name(graph.unique_name(value_name));
  node->output()->set_known(std::move(known));
  return node->output();
}

Status infer_types(Graph& graph) {
  for (const auto& node : graph.nodes()) {
    const OpDef& def = op_def(node->op());
    if (Status s = check_arity(def, node->inputs()); !s.ok()) return s.with_context(node->describe());
    if (Status s = complete_attrs(def, node->attrs()); !s.ok()) return s.with_context(node->describe());
    InferContext context = make_context(node->attrs(), node->inputs());
    TENON_TRY(infer_node(context, def, node->op(), node->inputs()));
    if (static_cast<int>(context.types.size()) != node->num_outputs()) {
      return error(ErrorCode::kBadModel, "{}: {} outputs named, {} defined", node->describe(), node->num_outputs(), context.types.size());
    }
    for (int i = 0; i < node->num_outputs(); ++i) {
      node->output(i)->set_type(std::move(context.types[static_cast<size_t>(i)]));
      node->output(i)->set_known(std::move(context.knowns[static_cast<size_t>(i)]));
    }
  }
  return {};
}

Status verify(const Graph& graph) {
  TENON_TRY(ir::verify_structure(graph));
  for (const auto& node : graph.nodes()) {
    const OpDef& def = op_def(node->op());
    const auto wrong = [&](const Status& s) { return Status(ErrorCode::kInternal, node->describe() + ": " + s.message()); };
    Attrs attrs = node->attrs();
    if (Status s = check_arity(def, node->inputs()); !s.ok()) return wrong(s);
    if (Status s = complete_attrs(def, attrs); !s.ok()) return wrong(s);
    if (!(attrs == node->attrs())) return error(ErrorCode::kInternal, "{}: attributes are incomplete", node->describe());
    InferContext context = make_context(attrs, node->inputs());
    if (Status s = def.infer(context); !s.ok()) return wrong(s);
    if (static_cast<int>(context.types.size()) != node->num_outputs()) {
      return error(ErrorCode::kInternal, "{}: {} outputs, {} inferred", node->describe(), node->num_outputs(), context.types.size());
    }
    for (int i = 0; i < node->num_outputs(); ++i) {
      if (context.types[static_cast<size_t>(i)] == node->output(i)->type()) continue;
      return error(ErrorCode::kInternal, "{}: output {} is typed {}, inferred {}", node->describe(), i,
                   node->output(i)->type().to_string(), context.types[static_cast<size_t>(i)].to_string());
    }
  }
  return {};
}

Status apply_assumptions(Graph& graph) {
  std::map<std::string, Dim> rename;
  for (const auto& [left, right] : graph.assumed_equal) {
    const Dim a = left.substitute(rename), b = right.substitute(rename);
    if (a == b) continue;
    // Sizes that the data gives keep their own symbols: a run checks that they are equal.
    std::set<std::string> symbols;
    a.collect_symbols(symbols);
    b.collect_symbols(symbols);
    if (std::ranges::any_of(symbols, [&](const std::string& s) { return graph.data_symbols.contains(s); })) continue;
    // One side must be a plain symbol; the other may be anything that does not mention it.
    const Dim& from = b.is_symbol() ? b : a;
    const Dim& to = b.is_symbol() ? a : b;
    std::set<std::string> mentioned;
    to.collect_symbols(mentioned);
    if (!from.is_symbol() || mentioned.contains(from.to_string())) {
      return error(ErrorCode::kUnsupported, "the model needs the sizes {} and {} to be equal, which cannot be shown", a.to_string(), b.to_string());
    }
    const std::map<std::string, Dim> one{{from.to_string(), to}};
    for (auto& [name, dim] : rename) dim = dim.substitute(one);
    rename.insert(one.begin(), one.end());
  }
  graph.assumed_equal.clear();
  if (rename.empty()) return {};
  const auto settle = [&](Shape& shape) {
    for (Dim& d : shape) d = d.substitute(rename);
  };
  for (const auto& in : graph.inputs()) {
    TensorType type = in->type();
    settle(type.shape);
    in->set_type(std::move(type));
  }
  for (const auto& node : graph.nodes()) {
    for (const auto& [name, value] : std::vector(node->attrs().all())) {
      if (const Shape* shape = std::get_if<Shape>(&value)) {
        Shape copy = *shape;
        settle(copy);
        node->attrs().set(name, std::move(copy));
      }
    }
  }
  return infer_types(graph);
}

Result<std::unique_ptr<Graph>> parse_graph(std::string_view text, std::string_view file) {
  TENON_ASSIGN(auto graph, ir::parse(text, file));
  if (Status s = infer_types(*graph); !s.ok()) return s.with_context(std::string(file));
  return graph;
}

}  // namespace tenon::ops
