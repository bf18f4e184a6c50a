// Matching and applying the rules of pattern files (passes/pattern_file.h).
#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "ir/pattern.h"
#include "ir/text.h"
#include "ops/interpret.h"
#include "passes/passes.h"
#include "passes/pattern_file.h"

namespace tenon::passes {
namespace {

using ir::AttrValue;
using Expression = PatternExpression;

// Ways to order the operands of commutative operators are tried within this many steps for each node.
constexpr int kMaxSteps = 4096;
constexpr size_t kMaxNodes = 200'000;
// As ir::pattern::number: exporters round constants differently.
constexpr double kRelativeTolerance = 1e-4;

bool same_number(double a, double b) { return a == b || std::abs(a - b) <= kRelativeTolerance * std::abs(b); }

std::optional<double> as_number(const AttrValue& v) {
  if (const auto* i = std::get_if<int64_t>(&v)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&v)) return *d;
  return std::nullopt;
}

bool same_value(const AttrValue& a, const AttrValue& b) {
  const auto x = as_number(a), y = as_number(b);
  if (x && y) return same_number(*x, *y);
  const auto* list = std::get_if<std::vector<int64_t>>(&b);
  if (std::holds_alternative<Shape>(a) && list != nullptr) return std::get<Shape>(a) == ir::to_shape(*list);
  return ir::same_attr(a, b);
}

bool is_operator(const PatternNode& pattern, const Node& node) {
  if (pattern.op) return node.is(*pattern.op);
  return node.is(Op::k_plugin) && node.attrs().text("operator") == pattern.plugin;
}

// One attempt to find a rule's pattern above a node. Tries both orders of commutative operands, going back where a
// choice fails later.
class Match {
 public:
  explicit Match(const PatternRule& rule)
      : rule_(rule),
        values_(rule.producers.size()),
        nodes_(rule.pattern.nodes.size()),
        variables_(static_cast<size_t>(rule.variables)) {}

  bool find(Node& root) {
    const PatternRule::Producer& made = rule_.producers[static_cast<size_t>(rule_.pattern.result)];
    if (made.output >= root.num_outputs()) return false;
    return match_value(rule_.pattern.result, root.output(made.output), [] { return true; });
  }

  bool exhausted() const { return steps_ > kMaxSteps; }
  Value* value(int index) const { return values_[static_cast<size_t>(index)]; }
  void set_value(int index, Value* v) { values_[static_cast<size_t>(index)] = v; }
  std::span<Node* const> nodes() const { return nodes_; }

  // Errors: invalid-argument, why there is no value.
  Result<AttrValue> evaluate(const Expression& e) const;
  // Empty, or the condition that does not hold.
  std::string failed_condition() const;

 private:
  using Next = std::function<bool()>;

  bool match_value(int index, Value* v, const Next& next);
  bool match_operands(const PatternNode& pattern, const Node& node, size_t from, bool swapped, const Next& next);
  bool match_attrs(const PatternNode& pattern, const Node& node);
  bool bind(int variable, const AttrValue& value);
  Result<bool> holds(const PatternCondition& c) const;
  Result<AttrValue> arithmetic(const Expression& e) const;

  const PatternRule& rule_;
  std::vector<Value*> values_;
  std::vector<Node*> nodes_;
  std::vector<std::optional<AttrValue>> variables_;
  int steps_ = 0;
};

bool Match::match_value(int index, Value* v, const Next& next) {
  if (++steps_ > kMaxSteps || v == nullptr) return false;
  Value*& bound = values_[static_cast<size_t>(index)];
  if (bound != nullptr) return bound == v && next();
  const PatternRule::Producer made = rule_.producers[static_cast<size_t>(index)];
  bound = v;
  bool found = false;
  if (made.node < 0) {
    found = next();
  } else {
    const PatternNode& pattern = rule_.pattern.nodes[static_cast<size_t>(made.node)];
    Node*& bound_node = nodes_[static_cast<size_t>(made.node)];
    Node* node = v->producer();
    const bool is_it = node != nullptr && is_operator(pattern, *node) && v->index() == made.output;
    if (is_it && bound_node != nullptr) {
      found = bound_node == node && next();
    } else if (is_it) {
      const auto before = variables_;
      bound_node = node;
      found = match_attrs(pattern, *node) && match_operands(pattern, *node, 0, false, next);
      if (!found && pattern.operands.size() == 2 && ir::pattern::is_commutative(node->op())) {
        variables_ = before;
        found = match_attrs(pattern, *node) && match_operands(pattern, *node, 0, true, next);
      }
      if (!found) {
        variables_ = before;
        bound_node = nullptr;
      }
    }
  }
  if (!found) values_[static_cast<size_t>(index)] = nullptr;
  return found;
}

bool Match::match_operands(const PatternNode& pattern, const Node& node, size_t from, bool swapped, const Next& next) {
  const size_t count = pattern.operands.size();
  if (from == count) {
    for (size_t i = count; i < node.inputs().size(); ++i)
      if (node.inputs()[i] != nullptr) return false;
    return next();
  }
  const PatternOperand& operand = pattern.operands[from];
  Value* v = node.input(static_cast<int>(swapped ? count - 1 - from : from));
  const auto rest = [&] { return match_operands(pattern, node, from + 1, swapped, next); };
  double found = 0;
  switch (operand.kind) {
    case PatternOperand::Kind::kAbsent:
      return v == nullptr && rest();
    case PatternOperand::Kind::kValue:
      return match_value(operand.index, v, rest);
    case PatternOperand::Kind::kNumber:
      return ir::pattern::scalar(found)(v) && same_number(found, operand.number) && rest();
    case PatternOperand::Kind::kVariable: {
      if (!ir::pattern::scalar(found)(v)) return false;
      const auto before = variables_[static_cast<size_t>(operand.index)];
      if (bind(operand.index, found) && rest()) return true;
      variables_[static_cast<size_t>(operand.index)] = before;
      return false;
    }
  }
  return false;
}

bool Match::match_attrs(const PatternNode& pattern, const Node& node) {
  return std::ranges::all_of(pattern.attrs, [&](const auto& attr) {
    const AttrValue* found = node.attrs().find(attr.first);
    if (found == nullptr) return false;
    if (attr.second.kind == Expression::Kind::kVariable) return bind(attr.second.index, *found);
    return same_value(*found, attr.second.literal);
  });
}

bool Match::bind(int variable, const AttrValue& value) {
  auto& bound = variables_[static_cast<size_t>(variable)];
  if (bound) return same_value(*bound, value);
  bound = value;
  return true;
}

Result<AttrValue> Match::evaluate(const Expression& e) const {
  using Kind = Expression::Kind;
  const Value* v = e.kind >= Kind::kRank && e.kind <= Kind::kOrigin ? value(e.index) : nullptr;
  switch (e.kind) {
    case Kind::kLiteral:
      return e.literal;
    case Kind::kVariable:
      return *variables_[static_cast<size_t>(e.index)];
    case Kind::kRank:
      return AttrValue(int64_t{v->rank()});
    case Kind::kDim: {
      const int64_t axis = e.axis < 0 ? e.axis + v->rank() : e.axis;
      if (axis < 0 || axis >= v->rank())
        return error(ErrorCode::kInvalidArgument, "%{} has no axis {}", v->name(), e.axis);
      const Dim& d = v->shape()[static_cast<size_t>(axis)];
      return d.is_const() ? AttrValue(d.value()) : AttrValue(Shape{d});
    }
    case Kind::kShape:
      return AttrValue(v->shape());
    case Kind::kDType:
      return AttrValue(v->dtype());
    case Kind::kName:
      return AttrValue(v->name());
    case Kind::kOrigin:
      return AttrValue(v->producer() != nullptr ? v->producer()->origin() : std::string());
    default:
      return arithmetic(e);
  }
}

Result<AttrValue> Match::arithmetic(const Expression& e) const {
  using Kind = Expression::Kind;
  TENON_ASSIGN(const AttrValue left, evaluate(e.operands[0]));
  TENON_ASSIGN(const AttrValue right, evaluate(e.operands[1]));
  const auto a = as_number(left), b = as_number(right);
  if (!a || !b)
    return error(ErrorCode::kInvalidArgument, "arithmetic needs numbers, not {} and {}", ir::print(left),
                 ir::print(right));
  const double y = e.kind == Kind::kAdd        ? *a + *b
                   : e.kind == Kind::kSubtract ? *a - *b
                   : e.kind == Kind::kMultiply ? *a * *b
                                               : *a / *b;
  // Integers stay integers as long as doubles hold them exactly.
  const bool integers = std::holds_alternative<int64_t>(left) && std::holds_alternative<int64_t>(right);
  constexpr double kExact = 9007199254740992.0;  // 2^53
  if (integers && std::abs(*a) < kExact && std::abs(*b) < kExact && std::abs(y) < kExact && y == std::floor(y)) {
    return AttrValue(static_cast<int64_t>(y));
  }
  return AttrValue(y);
}

Result<bool> Match::holds(const PatternCondition& c) const {
  using Kind = PatternCondition::Kind;
  if (c.kind == Kind::kSingleUse) return value(c.value)->has_one_use();
  if (c.kind == Kind::kConstant) return ops::is_constant_expression(*value(c.value));
  TENON_ASSIGN(const AttrValue left, evaluate(c.left));
  if (c.kind == Kind::kLike) {
    const auto* text = std::get_if<std::string>(&left);
    return text != nullptr && like(*text, c.glob);
  }
  TENON_ASSIGN(const AttrValue right, evaluate(c.right));
  if (c.kind == Kind::kEqual || c.kind == Kind::kNotEqual) return same_value(left, right) == (c.kind == Kind::kEqual);
  const auto a = as_number(left), b = as_number(right);
  if (!a || !b) return false;  // symbolic sizes are not ordered
  switch (c.kind) {
    case Kind::kLess:
      return *a < *b;
    case Kind::kLessEqual:
      return *a <= *b;
    case Kind::kGreater:
      return *a > *b;
    default:
      return *a >= *b;
  }
}

std::string Match::failed_condition() const {
  for (const PatternCondition& c : rule_.conditions) {
    const Result<bool> result = holds(c);
    if (!result.ok()) return fmt::format("{}: {}", c.text, result.status().message());
    if (*result == c.negated) return c.text;
  }
  return "";
}

// What a replacement makes, taken back where it turns out not to fit.
class Replacement {
 public:
  Replacement(Rewriter& rw, const PatternRule& rule, Match& match, const std::set<std::string>& symbols)
      : rw_(rw), rule_(rule), match_(match), symbols_(symbols), assumptions_(rw.graph().assumed_equal.size()) {}

  // The value to take the result's place, or why there is none.
  Result<Value*> build() {
    for (const PatternNode& node : rule_.replacement.nodes) {
      TENON_ASSIGN(Node * made, create(node));
      if (static_cast<size_t>(made->num_outputs()) < node.outputs.size())
        return error(ErrorCode::kInvalidArgument, "{} has {} outputs", ir::op_name(made->op()), made->num_outputs());
      for (size_t i = 0; i < node.outputs.size(); ++i)
        match_.set_value(node.outputs[i], made->output(static_cast<int>(i)));
    }
    const Value* from = match_.value(rule_.pattern.result);
    Value* to = match_.value(rule_.replacement.result);
    if (!(to->type() == from->type())) {
      return error(ErrorCode::kInvalidArgument, "the replacement is {} where the pattern is {}", to->type().to_string(),
                   from->type().to_string());
    }
    if (rw_.graph().assumed_equal.size() != assumptions_)
      return error(ErrorCode::kInvalidArgument, "the replacement needs sizes to be equal that may differ");
    return to;
  }

  void take_back() {
    for (auto it = created_.rbegin(); it != created_.rend(); ++it) rw_.graph().erase(*it);
    rw_.graph().assumed_equal.resize(assumptions_);
  }

  // What no other node of the replacement uses was made for nothing.
  void drop_unused() {
    for (auto it = created_.rbegin(); it != created_.rend(); ++it) {
      bool used = false;
      for (int i = 0; i < (*it)->num_outputs(); ++i)
        used |= !(*it)->output(i)->uses().empty() || (*it)->output(i)->is_output();
      if (!used) rw_.graph().erase(*it);
    }
  }

 private:
  Result<Node*> create(const PatternNode& pattern) {
    std::vector<Value*> inputs;
    const auto first = std::ranges::find(pattern.operands, PatternOperand::Kind::kValue, &PatternOperand::kind);
    const DType dtype = first == pattern.operands.end() ? DType::kF32 : match_.value(first->index)->dtype();
    for (const PatternOperand& operand : pattern.operands) {
      TENON_ASSIGN(Value * input, input_of(operand, dtype));
      inputs.push_back(input);
    }
    if (!pattern.op) return create_plugin(pattern, std::move(inputs));
    Attrs attrs;
    for (const auto& [name, expression] : pattern.attrs) {
      TENON_ASSIGN(AttrValue value, match_.evaluate(expression));
      TENON_TRY(convert_attribute(*pattern.op, name, value));
      attrs.set(name, std::move(value));
    }
    TENON_ASSIGN(Value * made, rw_.create(*pattern.op, std::move(inputs), std::move(attrs)));
    created_.push_back(made->producer());
    return check_symbols(*made->producer());
  }

  Result<Node*> create_plugin(const PatternNode& pattern, std::vector<Value*> inputs) {
    const ops::PluginOperator* op = ops::find_plugin(pattern.plugin);
    if (op == nullptr)
      return error(ErrorCode::kNotFound, "there is no plugin operator {}: give its library with --plugins",
                   pattern.plugin);
    ops::PluginAttributes attributes;
    for (const auto& [name, expression] : pattern.attrs) {
      TENON_ASSIGN(const AttrValue value, match_.evaluate(expression));
      TENON_ASSIGN(ops::PluginAttribute attribute, plugin_attribute(value));
      attributes.emplace_back(name, std::move(attribute));
    }
    TENON_ASSIGN(Value * made, rw_.create_plugin(*op, attributes, std::move(inputs)));
    created_.push_back(made->producer());
    return check_symbols(*made->producer());
  }

  static Result<ops::PluginAttribute> plugin_attribute(const AttrValue& value) {
    const auto error_of = [&] {
      return error(ErrorCode::kInvalidArgument, "a plugin cannot be given {}", ir::print(value));
    };
    return std::visit(
        [&]<class T>(const T& v) -> Result<ops::PluginAttribute> {
          if constexpr (std::is_same_v<T, DType>) {
            return ops::PluginAttribute(std::string(dtype_name(v)));
          } else if constexpr (std::is_same_v<T, Shape>) {
            if (!ir::all_const(v)) return error_of();
            return ops::PluginAttribute(ir::const_values(v));
          } else {
            return ops::PluginAttribute(v);
          }
        },
        value);
  }

  Result<Value*> input_of(const PatternOperand& operand, DType dtype) {
    if (operand.kind == PatternOperand::Kind::kAbsent) return nullptr;
    if (operand.kind == PatternOperand::Kind::kValue) return match_.value(operand.index);
    double number = operand.number;
    if (operand.kind == PatternOperand::Kind::kVariable) {
      Expression variable;
      variable.kind = Expression::Kind::kVariable;
      variable.index = operand.index;
      TENON_ASSIGN(const AttrValue bound, match_.evaluate(variable));
      const auto given = as_number(bound);
      if (!given) return error(ErrorCode::kInvalidArgument, "{} is not a number", ir::print(bound));
      number = *given;
    }
    Value* made = rw_.constant(Tensor::scalar(dtype, number));
    created_.push_back(made->producer());
    return made;
  }

  static Status convert_attribute(Op op, const std::string& name, AttrValue& value) {
    const auto& attrs = ops::op_def(op).attrs;
    const AttrValue& wanted =
        std::ranges::find(attrs, name, [](const ops::AttrDef& a) { return std::string(a.name); })->fallback;
    if (std::holds_alternative<double>(wanted)) {
      if (const auto number = as_number(value)) value = *number;
    } else if (std::holds_alternative<Shape>(wanted)) {
      if (const auto* list = std::get_if<std::vector<int64_t>>(&value)) value = ir::to_shape(*list);
    }
    if (value.index() == wanted.index()) return {};
    return error(ErrorCode::kInvalidArgument, "attribute {} of {} cannot be {}", name, ir::op_name(op),
                 ir::print(value));
  }

  // Sizes must be the model's own.
  Result<Node*> check_symbols(Node& node) const {
    std::set<std::string> names;
    for (int i = 0; i < node.num_outputs(); ++i)
      for (const Dim& d : node.output(i)->shape()) d.collect_symbols(names);
    for (const auto& [attr, value] : node.attrs().all())
      if (const auto* shape = std::get_if<Shape>(&value))
        for (const Dim& d : *shape) d.collect_symbols(names);
    for (const std::string& name : names)
      if (!symbols_.contains(name)) return error(ErrorCode::kInvalidArgument, "the model has no size \"{}\"", name);
    return &node;
  }

  Rewriter& rw_;
  const PatternRule& rule_;
  Match& match_;
  const std::set<std::string>& symbols_;
  const size_t assumptions_;
  std::vector<Node*> created_;
};

std::set<std::string> symbols_of(const Graph& graph) {
  std::set<std::string> names;
  for (const auto& in : graph.inputs())
    for (const Dim& d : in->shape()) d.collect_symbols(names);
  for (const auto& [name, symbol] : graph.data_symbols) names.insert(name);
  return names;
}

}  // namespace

bool like(std::string_view text, std::string_view glob) {
  size_t t = 0, g = 0, star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      resume = t;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == text[t])) {
      ++g, ++t;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', g) == std::string_view::npos;
}

Status apply_pattern(Graph& graph, const PatternRule& rule, std::vector<Decision>& decisions) {
  Rewriter rw(graph, rule.name, decisions);
  const std::set<std::string> symbols = symbols_of(graph);
  const auto& result = rule.producers[static_cast<size_t>(rule.pattern.result)];
  const PatternNode& root = rule.pattern.nodes[static_cast<size_t>(result.node)];
  Node* next = nullptr;
  // New nodes stand before the one that is replaced, so they are not visited.
  for (Node* node = graph.nodes().empty() ? nullptr : graph.nodes().front().get(); node != nullptr; node = next) {
    next = graph.next(node);
    if (!is_operator(root, *node)) continue;
    Match match(rule);
    if (!match.find(*node)) {
      if (match.exhausted()) (void)rw.decline(*node, "there are too many ways to match it");
      continue;
    }
    if (const std::string failed = match.failed_condition(); !failed.empty()) {
      (void)rw.decline(*node, "not so: " + failed);
      continue;
    }
    rw.set_anchor(node);
    Replacement replacement(rw, rule, match, symbols);
    const Result<Value*> made = replacement.build();
    if (!made.ok()) {
      replacement.take_back();
      (void)rw.decline(*node, made.status().message());
      continue;
    }
    Value* from = match.value(rule.pattern.result);
    if (*made == from) continue;
    (void)rw.changed(*node, fmt::format("by {}", rule.where));
    if (Node* by = (*made)->producer(); by != nullptr)
      for (const Node* part : match.nodes()) rw.absorb_origin(by, part);
    rw.replace(from, *made);
    replacement.drop_unused();
    if (graph.nodes().size() > kMaxNodes)
      return error(ErrorCode::kUnsupported, "{}: pattern {} makes more than {} nodes", rule.where, rule.name,
                   kMaxNodes);
  }
  return {};
}

}  // namespace tenon::passes
