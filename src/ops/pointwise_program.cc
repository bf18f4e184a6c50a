#include "ops/pointwise_program.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/dtype.h"

namespace tenon::ops {
namespace {

using Instruction = PointwiseInstruction;
using Operand = PointwiseOperand;

// How a function's dtypes follow from its operands'.
enum class Rule { kSame, kComparison, kLogical, kIsNan, kFloat, kWhere, kCast, kLeakyRelu };

struct Function {
  Op op{};
  int arity = 1;
  Rule rule = Rule::kSame;
  Instruction::Gelu gelu = Instruction::Gelu::kErf;
  DType cast_to = DType::kF32;
};

std::optional<Function> elementwise(Op op) {
  switch (op) {
    case Op::k_neg: case Op::k_abs: case Op::k_sign: case Op::k_relu: return Function{op, 1, Rule::kSame};
    case Op::k_exp: case Op::k_log: case Op::k_sqrt: case Op::k_rsqrt: case Op::k_reciprocal: case Op::k_erf: case Op::k_sin:
    case Op::k_cos: case Op::k_tanh: case Op::k_sigmoid: case Op::k_softplus: case Op::k_gelu: case Op::k_silu: case Op::k_floor:
    case Op::k_ceil:
    case Op::k_round:
    case Op::k_tan:
    case Op::k_asin:
    case Op::k_acos:
    case Op::k_atan:
    case Op::k_sinh:
    case Op::k_cosh:
    case Op::k_asinh:
    case Op::k_acosh:
    case Op::k_atanh:
      return Function{op, 1, Rule::kFloat};
    case Op::k_not: return Function{op, 1, Rule::kLogical};
    case Op::k_is_nan: return Function{op, 1, Rule::kIsNan};
    case Op::k_leaky_relu: return Function{op, 2, Rule::kLeakyRelu};
    case Op::k_add: case Op::k_sub: case Op::k_mul: case Op::k_div: case Op::k_pow: case Op::k_mod: case Op::k_min: case Op::k_max:
      return Function{op, 2, Rule::kSame};
    case Op::k_equal: case Op::k_less: case Op::k_less_equal: case Op::k_greater: case Op::k_greater_equal:
      return Function{op, 2, Rule::kComparison};
    case Op::k_and: case Op::k_or: case Op::k_xor: return Function{op, 2, Rule::kLogical};
    case Op::k_where: return Function{op, 3, Rule::kWhere};
    default: return std::nullopt;
  }
}

std::optional<Function> find_function(std::string_view name) {
  if (name == "gelu_tanh") return Function{Op::k_gelu, 1, Rule::kFloat, Instruction::Gelu::kTanh};
  if (name == "gelu_sigmoid") return Function{Op::k_gelu, 1, Rule::kFloat, Instruction::Gelu::kSigmoid};
  if (name.starts_with("cast_")) {
    const std::optional<DType> to = parse_dtype(name.substr(5));
    return to && !is_narrow(*to) ? std::optional(Function{Op::k_cast, 1, Rule::kCast, {}, *to}) : std::nullopt;
  }
  const std::optional<Op> op = ir::parse_op(name);
  return op ? elementwise(*op) : std::nullopt;
}

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

// Up to the separator, which is removed too.
std::string_view take_until(std::string_view& rest, char separator) {
  const size_t at = rest.find(separator);
  const std::string_view head = rest.substr(0, at);
  rest = at == std::string_view::npos ? std::string_view() : rest.substr(at + 1);
  return trim(head);
}

template <class T>
bool parse_whole(std::string_view text, T& value) {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  return ec == std::errc() && end == text.data() + text.size() && !text.empty();
}

class Parser {
 public:
  Parser(std::span<const DType> inputs, DType result) : result_(result) { program_.inputs.assign(inputs.begin(), inputs.end()); }

  Result<PointwiseProgram> parse(std::string_view text) {
    std::string_view rest = trim(text);
    if (rest.ends_with(';')) rest.remove_suffix(1);
    while (!rest.empty()) {
      const std::string_view line = take_until(rest, ';');
      if (Status s = instruction(line); !s.ok()) return s.with_context(fmt::format("instruction '{}'", line));
    }
    if (program_.instructions.empty()) return error(ErrorCode::kBadModel, "the program is empty");
    const DType last = program_.instructions.back().dtype;
    if (last != result_) {
      return error(ErrorCode::kBadModel, "the program computes {}, {} expected", dtype_name(last), dtype_name(result_));
    }
    return std::move(program_);
  }

 private:
  static constexpr size_t kMostInstructions = 1024;

  Status instruction(std::string_view line) {
    const size_t number = program_.instructions.size();
    if (number == kMostInstructions) return error(ErrorCode::kBadModel, "more than {} instructions", kMostInstructions);
    if (take_until(line, '=') != fmt::format("t{}", number)) return error(ErrorCode::kBadModel, "t{} = … expected", number);
    const std::string_view name = take_until(line, '(');
    const std::optional<Function> function = find_function(name);
    if (!function) return error(ErrorCode::kBadModel, "'{}' is not an elementwise function", name);
    if (!line.ends_with(')')) return error(ErrorCode::kBadModel, "')' expected");
    line.remove_suffix(1);

    Instruction made;
    made.op = function->op;
    made.gelu = function->gelu;
    made.arity = 0;
    while (!line.empty() && made.arity < 3) {
      TENON_ASSIGN(made.operands[static_cast<size_t>(made.arity++)], operand(take_until(line, ',')));
    }
    if (!line.empty() || made.arity != function->arity) return error(ErrorCode::kBadModel, "{} operands expected", function->arity);
    TENON_TRY(infer(*function, made));
    program_.instructions.push_back(made);
    return {};
  }

  Result<Operand> operand(std::string_view text) {
    if (text.starts_with('x') || text.starts_with('t')) {
      const bool is_input = text[0] == 'x';
      const size_t limit = is_input ? program_.inputs.size() : program_.instructions.size();
      int index = -1;
      if (parse_whole(text.substr(1), index) && index >= 0 && static_cast<size_t>(index) < limit) {
        return Operand{.kind = is_input ? Operand::Kind::kInput : Operand::Kind::kTemporary, .index = index};
      }
      return error(ErrorCode::kBadModel, "'{}' is not defined here", text);
    }
    Operand literal;
    if (!parse_whole(text, literal.literal)) return error(ErrorCode::kBadModel, "'{}' is no operand", text);
    return literal;
  }

  std::optional<DType> dtype_of(const Operand& o) const {
    if (o.kind == Operand::Kind::kLiteral) return std::nullopt;
    const auto i = static_cast<size_t>(o.index);
    return o.kind == Operand::Kind::kInput ? program_.inputs[i] : program_.instructions[i].dtype;
  }

  // The dtypes of operands and result.
  Status infer(const Function& function, Instruction& made) const {
    const size_t first = function.rule == Rule::kWhere ? 1 : 0;
    std::optional<DType> common;
    for (size_t i = first; i < static_cast<size_t>(made.arity); ++i) {
      const std::optional<DType> own = dtype_of(made.operands[i]);
      if (own && common && *own != *common) {
        return error(ErrorCode::kBadModel, "operands are {} and {}", dtype_name(*common), dtype_name(*own));
      }
      if (own) common = own;
    }
    // A choice between two literals is made for the result's sake.
    if (!common && function.rule == Rule::kWhere) common = result_;
    if (!common) return error(ErrorCode::kBadModel, "all operands are literals");
    made.operand_dtype = made.dtype = *common;
    switch (function.rule) {
      case Rule::kSame: return *common != DType::kBool ? Status() : error(ErrorCode::kBadModel, "not defined for bool");
      case Rule::kFloat: return is_float(*common) ? Status() : error(ErrorCode::kBadModel, "not defined for {}", dtype_name(*common));
      case Rule::kLogical: return *common == DType::kBool ? Status() : error(ErrorCode::kBadModel, "bool expected");
      case Rule::kIsNan:
        made.dtype = DType::kBool;
        return is_float(*common) ? Status() : error(ErrorCode::kBadModel, "not defined for {}", dtype_name(*common));
      case Rule::kComparison: made.dtype = DType::kBool; return {};
      case Rule::kCast: made.dtype = function.cast_to; return {};
      case Rule::kLeakyRelu: {
        const bool literal = made.operands[1].kind == Operand::Kind::kLiteral;
        return is_float(*common) && literal ? Status() : error(ErrorCode::kBadModel, "a float and a literal expected");
      }
      case Rule::kWhere: break;
    }
    return dtype_of(made.operands[0]) == DType::kBool ? Status() : error(ErrorCode::kBadModel, "the condition must be bool");
  }

  PointwiseProgram program_;
  DType result_;
};

}  // namespace

Result<PointwiseProgram> parse_pointwise(std::string_view text, std::span<const DType> inputs, DType result) {
  return Parser(inputs, result).parse(text);
}

PointwiseColumns::PointwiseColumns(const Attrs& attrs) {
  if (attrs.find("width") == nullptr || attrs.integer("width") <= 0) return;
  width_ = attrs.integer("width");
  first_ = attrs.integers("columns");
  halves_ = attrs.integers("halves");
}

bool PointwiseColumns::any_half() const {
  return std::ranges::any_of(halves_, [](int64_t h) { return h != 0; });
}

}  // namespace tenon::ops
