#include "passes/pattern_file.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/mapped_file.h"
#include "ir/text_reader.h"
#include "ops/op_def.h"

namespace tenon::passes {
namespace {

using ir::AttrValue;
using Expression = PatternExpression;

// More than these is no fusion, and matching stays cheap.
constexpr size_t kMaxFileBytes = 1 << 20, kMaxRules = 256, kMaxConditions = 64;
constexpr size_t kMaxPatternNodes = 32, kMaxOperands = 16, kMaxVariables = 64;
constexpr int kMaxExpressionDepth = 16;

class PatternReader : private ir::TextReader {
 public:
  using TextReader::TextReader;

  Result<std::vector<PatternRule>> read() {
    if (text_.size() > kMaxFileBytes) return fail_at(0, "the file is larger than 1 MiB");
    std::vector<PatternRule> rules;
    while (!at_end()) {
      const size_t begin = pos_;
      TENON_ASSIGN(PatternRule next, rule());
      const bool twice = std::ranges::any_of(rules, [&](const PatternRule& r) { return r.name == next.name; });
      if (twice) return fail_at(begin, "there are two patterns \"" + next.name + "\"");
      if (rules.size() == kMaxRules) return fail_at(begin, "too many patterns");
      rules.push_back(std::move(next));
    }
    if (rules.empty()) return fail("expected \"pattern\"");
    return rules;
  }

 private:
  // ---- Rules and blocks
  // ----------------------------------------------------------------------------------------------

  Result<PatternRule> rule() {
    rule_ = PatternRule{};
    names_.clear();
    value_names_.clear();
    variables_.clear();
    skip_space();
    rule_.where = fmt::format("{}:{}", file_, line_of(pos_));
    if (!accept_word("pattern")) return fail("expected \"pattern\"");
    TENON_ASSIGN(rule_.name, dashed_name("a name for the pattern"));
    rule_.before = "fuse-attention";  // norms, activations and products are one node each by then
    if (accept_word("before")) {
      TENON_ASSIGN(rule_.before, dashed_name("the name of a pass"));
    }
    const size_t at = pos_;
    TENON_ASSIGN(rule_.pattern, block(true));
    TENON_TRY(check_pattern(at));
    rule_.values = static_cast<int>(rule_.producers.size());
    rule_.variables = static_cast<int>(variables_.size());
    if (accept_word("where")) {
      do {
        if (rule_.conditions.size() == kMaxConditions) return fail("too many conditions");
        TENON_ASSIGN(PatternCondition next, condition());
        rule_.conditions.push_back(std::move(next));
      } while (accept(','));
    }
    if (!accept_symbol("=>")) return fail("expected \"=>\"");
    TENON_ASSIGN(rule_.replacement, block(false));
    return std::move(rule_);
  }

  // "fuse-add-gelu"
  Result<std::string> dashed_name(const char* what) {
    skip_space();
    const size_t begin = pos_;
    const auto belongs = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-'; };
    while (belongs(peek())) ++pos_;
    if (pos_ == begin) return fail(std::string("expected ") + what);
    return std::string(text_.substr(begin, pos_ - begin));
  }

  Result<PatternBlock> block(bool is_pattern) {
    TENON_TRY(expect('{'));
    PatternBlock made;
    made_here_.clear();
    while (!accept_word("return")) {
      if (made.nodes.size() == kMaxPatternNodes) return fail("too many nodes in one pattern");
      TENON_ASSIGN(PatternNode next, node(is_pattern, static_cast<int>(made.nodes.size())));
      made.nodes.push_back(std::move(next));
    }
    skip_space();
    const size_t begin = pos_;
    TENON_ASSIGN(const std::string name, value_name(false));
    const auto it = names_.find(name);
    if (it == names_.end()) return fail_at(begin, "%" + name + " is not defined");
    made.result = it->second;
    if (!is_pattern) TENON_TRY(check_replaced(made.result, begin));
    TENON_TRY(expect('}'));
    return made;
  }

  // Every node must be reached from the result, or it would match nothing.
  Status check_pattern(size_t at) {
    const PatternBlock& block = rule_.pattern;
    if (rule_.producers[static_cast<size_t>(block.result)].node < 0)
      return fail_at(at, "the pattern returns what none of its nodes makes");
    std::vector<bool> reached(block.nodes.size(), false);
    std::vector<int> pending{block.result};
    while (!pending.empty()) {
      const int made_by = rule_.producers[static_cast<size_t>(pending.back())].node;
      pending.pop_back();
      if (made_by < 0 || reached[static_cast<size_t>(made_by)]) continue;
      reached[static_cast<size_t>(made_by)] = true;
      for (const PatternOperand& o : block.nodes[static_cast<size_t>(made_by)].operands)
        if (o.kind == PatternOperand::Kind::kValue) pending.push_back(o.index);
    }
    for (size_t i = 0; i < reached.size(); ++i) {
      if (reached[i]) continue;
      return fail_at(at, "%" + value_names_[static_cast<size_t>(block.nodes[i].outputs[0])] +
                             " is no part of what the pattern returns");
    }
    return {};
  }

  // What the result's node makes is gone once it is replaced.
  Status check_replaced(int value, size_t at) const {
    const int root = rule_.producers[static_cast<size_t>(rule_.pattern.result)].node;
    if (rule_.producers[static_cast<size_t>(value)].node != root) return {};
    return fail_at(at, "the replacement reads what it replaces, %" + value_names_[static_cast<size_t>(value)]);
  }

  int add_value(const std::string& name, int made_by, int output) {
    names_[name] = static_cast<int>(rule_.producers.size());
    value_names_.push_back(name);
    rule_.producers.push_back({made_by, output});
    return names_[name];
  }

  // ---- Nodes
  // ---------------------------------------------------------------------------------------------------------

  Result<PatternNode> node(bool is_pattern, int index) {
    skip_space();
    const size_t begin = pos_;
    if (peek() != '%') return fail("expected a node or \"return\"");
    std::vector<std::string> results;
    do {
      TENON_ASSIGN(std::string name, value_name(false));
      if (made_here_.contains(name) || (is_pattern && names_.contains(name)))
        return fail_at(begin, "%" + name + " is defined twice, or used before");
      if (results.size() == kMaxOperands) return fail("too many results");
      made_here_.insert(name);
      results.push_back(std::move(name));
    } while (accept(','));
    TENON_TRY(expect('='));
    PatternNode made;
    TENON_TRY(operation(made));
    TENON_TRY(operands(is_pattern, made));
    TENON_TRY(attributes(is_pattern, made));
    for (size_t i = 0; i < results.size(); ++i) {
      made.outputs.push_back(add_value(results[i], is_pattern ? index : -1, static_cast<int>(i)));
    }
    return made;
  }

  Status operation(PatternNode& made) {
    skip_space();
    const size_t begin = pos_;
    if (peek() == '"') {
      TENON_ASSIGN(made.plugin, quoted());
      return made.plugin.empty() ? fail_at(begin, "expected the name of a plugin's operator") : Status();
    }
    TENON_ASSIGN(const std::string name, word("an operator"));
    made.op = ir::parse_op(name);
    return made.op ? Status() : fail_at(begin, "unknown operator \"" + name + "\"");
  }

  Status operands(bool is_pattern, PatternNode& made) {
    skip_space();
    const size_t begin = pos_;
    if (accept('(') && !accept(')')) {
      do {
        if (made.operands.size() == kMaxOperands) return fail("too many operands");
        TENON_ASSIGN(const PatternOperand next, operand(is_pattern));
        made.operands.push_back(next);
      } while (accept(','));
      TENON_TRY(expect(')'));
    }
    if (!made.op) return {};
    const ops::OpDef& def = ops::op_def(*made.op);
    const bool variadic = !def.inputs.empty() && def.inputs.back().arity == ops::Arity::kVariadic;
    if (!variadic && made.operands.size() > def.inputs.size()) {
      return fail_at(begin, fmt::format("{} takes at most {} inputs", ir::op_name(*made.op), def.inputs.size()));
    }
    for (size_t i = 0; i < def.inputs.size(); ++i) {
      const bool given = i < made.operands.size() && made.operands[i].kind != PatternOperand::Kind::kAbsent;
      if (given || def.inputs[i].arity == ops::Arity::kOptional) continue;
      return fail_at(begin, fmt::format("input '{}' of {} is missing", def.inputs[i].name, ir::op_name(*made.op)));
    }
    return {};
  }

  Result<PatternOperand> operand(bool is_pattern) {
    PatternOperand made;
    if (at_number()) {
      made.kind = PatternOperand::Kind::kNumber;
      TENON_ASSIGN(const AttrValue value, number());
      const auto* integer = std::get_if<int64_t>(&value);
      made.number = integer != nullptr ? static_cast<double>(*integer) : std::get<double>(value);
      return made;
    }
    if (accept('_')) return made;
    if (accept('$')) {
      made.kind = PatternOperand::Kind::kVariable;
      TENON_ASSIGN(made.index, variable(is_pattern));
      return made;
    }
    skip_space();
    const size_t begin = pos_;
    made.kind = PatternOperand::Kind::kValue;
    TENON_ASSIGN(const std::string name, value_name(false));
    const auto it = names_.find(name);
    if (it != names_.end()) {
      made.index = it->second;
      if (!is_pattern) TENON_TRY(check_replaced(made.index, begin));
    } else if (is_pattern) {
      made.index = add_value(name, -1, 0);  // matches any value
    } else {
      return fail_at(begin, "%" + name + " is not defined");
    }
    return made;
  }

  // After '$'. Patterns bind variables; everything behind them reads those.
  Result<int> variable(bool may_bind) {
    const size_t begin = pos_;
    TENON_ASSIGN(const std::string name, word("a name after '$'"));
    const auto it = variables_.find(name);
    if (it != variables_.end()) return it->second;
    if (!may_bind) return fail_at(begin, "$" + name + " is not bound by the pattern");
    if (variables_.size() == kMaxVariables) return fail_at(begin, "too many variables");
    return variables_[name] = static_cast<int>(variables_.size());
  }

  Status attributes(bool is_pattern, PatternNode& made) {
    if (!accept('{') || accept('}')) return {};
    do {
      skip_space();
      const size_t begin = pos_;
      TENON_ASSIGN(const std::string name, word("an attribute name"));
      if (std::ranges::any_of(made.attrs, [&](const auto& a) { return a.first == name; }))
        return fail_at(begin, "attribute " + name + " is given twice");
      if (made.attrs.size() == kMaxAttrs) return fail_at(begin, "too many attributes");
      if (!made.op && is_pattern)
        return fail_at(begin, "a plugin's attributes are its own: match it by its name and operands");
      TENON_TRY(expect('='));
      const size_t value_at = pos_;
      TENON_ASSIGN(Expression value, is_pattern ? matched_value() : expression(0));
      if (made.op) TENON_TRY(check_attribute(*made.op, name, value, begin, value_at));
      made.attrs.emplace_back(name, std::move(value));
    } while (accept(','));
    return expect('}');
  }

  // In a pattern attributes are compared with literals, or bind a variable.
  Result<Expression> matched_value() {
    Expression made;
    if (accept('$')) {
      made.kind = Expression::Kind::kVariable;
      TENON_ASSIGN(made.index, variable(true));
      return made;
    }
    TENON_ASSIGN(made.literal, literal());
    return made;
  }

  Result<AttrValue> literal() {
    skip_space();
    const size_t begin = pos_;
    TENON_ASSIGN(AttrValue value, attr_value());
    const auto* tensor = std::get_if<Tensor>(&value);
    if (tensor != nullptr && !tensor->has_data()) return fail_at(begin, "a tensor without data");
    return value;
  }

  Status check_attribute(Op op, const std::string& name, const Expression& value, size_t name_at, size_t value_at) {
    const auto& attrs = ops::op_def(op).attrs;
    const auto it = std::ranges::find(attrs, name, [](const ops::AttrDef& a) { return std::string(a.name); });
    if (it == attrs.end()) return fail_at(name_at, fmt::format("{} has no attribute \"{}\"", ir::op_name(op), name));
    if (value.kind != Expression::Kind::kLiteral) return {};
    const AttrValue& wanted = it->fallback;
    const bool is_number = std::holds_alternative<int64_t>(value.literal) && std::holds_alternative<double>(wanted);
    const bool is_dims =
        std::holds_alternative<std::vector<int64_t>>(value.literal) && std::holds_alternative<Shape>(wanted);
    if (value.literal.index() == wanted.index() || is_number || is_dims) return {};
    return fail_at(value_at, fmt::format("attribute \"{}\" of {} is of another kind", name, ir::op_name(op)));
  }

  // ---- Conditions and expressions
  // ------------------------------------------------------------------------------------

  Result<PatternCondition> condition() {
    skip_space();
    const size_t begin = pos_;
    PatternCondition made;
    made.negated = accept_word("not");
    const bool single = accept_word("single_use");
    if (single || accept_word("constant")) {
      made.kind = single ? PatternCondition::Kind::kSingleUse : PatternCondition::Kind::kConstant;
      TENON_TRY(expect('('));
      TENON_ASSIGN(made.value, matched_name());
      TENON_TRY(expect(')'));
    } else {
      TENON_ASSIGN(made.left, expression(0));
      if (accept_word("like")) {
        made.kind = PatternCondition::Kind::kLike;
        skip_space();
        TENON_ASSIGN(made.glob, quoted());
      } else {
        using Kind = PatternCondition::Kind;
        constexpr std::pair<const char*, Kind> kSymbols[] = {{"==", Kind::kEqual},     {"!=", Kind::kNotEqual},
                                                             {"<=", Kind::kLessEqual}, {">=", Kind::kGreaterEqual},
                                                             {"<", Kind::kLess},       {">", Kind::kGreater}};
        const auto* found = std::ranges::find_if(kSymbols, [&](const auto& s) { return accept_symbol(s.first); });
        if (found == std::end(kSymbols)) return fail("expected ==, !=, <, <=, >, >= or \"like\"");
        made.kind = found->second;
        TENON_ASSIGN(made.right, expression(0));
      }
    }
    made.text = std::string(text_.substr(begin, pos_ - begin));
    return made;
  }

  Result<int> matched_name() {
    skip_space();
    const size_t begin = pos_;
    TENON_ASSIGN(const std::string name, value_name(false));
    const auto it = names_.find(name);
    if (it == names_.end() || (rule_.values > 0 && it->second >= rule_.values))
      return fail_at(begin, "%" + name + " is not in the pattern");
    return it->second;
  }

  // Sums of products; `depth` counts parentheses.
  Result<Expression> expression(int depth) {
    if (depth > kMaxExpressionDepth) return fail("nested too deeply");
    return chain(depth, true);
  }

  Result<Expression> chain(int depth, bool sums) {
    using Kind = Expression::Kind;
    TENON_ASSIGN(Expression left, sums ? chain(depth, false) : primary(depth));
    for (int count = 0;; ++count) {
      skip_space();
      const char symbol = peek();
      if (sums ? symbol != '+' && symbol != '-' : symbol != '*' && symbol != '/') return left;
      if (count == kMaxExpressionDepth) return fail("too long");
      ++pos_;
      TENON_ASSIGN(Expression right, sums ? chain(depth, false) : primary(depth));
      Expression both;
      both.kind = symbol == '+'   ? Kind::kAdd
                  : symbol == '-' ? Kind::kSubtract
                  : symbol == '*' ? Kind::kMultiply
                                  : Kind::kDivide;
      both.operands.push_back(std::move(left));
      both.operands.push_back(std::move(right));
      left = std::move(both);
    }
  }

  Result<Expression> primary(int depth) {
    using Kind = Expression::Kind;
    if (accept('(')) {
      TENON_ASSIGN(Expression inner, expression(depth + 1));
      TENON_TRY(expect(')'));
      return inner;
    }
    Expression made;
    if (accept('$')) {
      made.kind = Kind::kVariable;
      TENON_ASSIGN(made.index, variable(false));
      return made;
    }
    constexpr std::pair<const char*, Kind> kFunctions[] = {{"rank", Kind::kRank},   {"dim", Kind::kDim},
                                                           {"shape", Kind::kShape}, {"dtype", Kind::kDType},
                                                           {"name", Kind::kName},   {"origin", Kind::kOrigin}};
    const auto* function = std::ranges::find_if(kFunctions, [&](const auto& f) { return accept_word(f.first); });
    if (function == std::end(kFunctions)) {
      skip_space();
      TENON_ASSIGN(made.literal, literal());
      return made;
    }
    made.kind = function->second;
    TENON_TRY(expect('('));
    TENON_ASSIGN(made.index, matched_name());
    if (made.kind == Kind::kDim) {
      TENON_TRY(expect(','));
      skip_space();
      const size_t begin = pos_;
      TENON_ASSIGN(const AttrValue axis, number());
      if (!std::holds_alternative<int64_t>(axis)) return fail_at(begin, "expected an integer");
      made.axis = std::get<int64_t>(axis);
    }
    TENON_TRY(expect(')'));
    return made;
  }

  PatternRule rule_;
  std::map<std::string, int> names_;  // %values visible here
  std::vector<std::string> value_names_;
  std::map<std::string, int> variables_;
  std::set<std::string> made_here_;  // by nodes of this block
};

}  // namespace

Result<std::vector<PatternRule>> parse_patterns(std::string_view text, std::string_view file) {
  auto rules = PatternReader(text, file).read();
  if (!rules.ok()) return Status(ErrorCode::kInvalidArgument, rules.status().message());
  return rules;
}

Result<std::vector<PatternRule>> read_patterns(const std::string& path) {
  TENON_ASSIGN(const auto file, MappedFile::open(path));
  return parse_patterns({reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()}, path);
}

}  // namespace tenon::passes
