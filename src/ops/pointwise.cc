#include "ops/pointwise_program.h"
#include "ops/scalar_functions.h"
#include "ops/support.h"

namespace tenon::ops {
namespace {

// ---- Registers -------------------------------------------------------------------------------------------------------

// Instructions run over blocks of elements; a register holds one block of an input, a literal or a result.
constexpr int64_t kBlock = 256;

struct alignas(64) Register {
  std::byte bytes[kBlock * 8];
  template <class R>
  R* as() { return reinterpret_cast<R*>(bytes); }
  template <class R>
  const R* as() const { return reinterpret_cast<const R*>(bytes); }
};

// How a register holds elements of type T: what arithmetic is done in; bool as 0 and 1.
template <class T>
using Held = std::conditional_t<std::is_same_v<T, bool>, uint8_t, Compute<T>>;

// One input, read at flat indices of the output that it broadcasts to.
class Reader {
 public:
  // Of `width` columns from `first` on; of those blocks of `half` change places.
  Reader(const TensorArg& input, int64_t first, int64_t width, int64_t half, std::span<const int64_t> target)
      : input_(input), shape_(target.begin(), target.end()), first_(first), half_(half) {
    std::vector<int64_t> part(input.shape.begin(), input.shape.end());
    part.back() = width;
    strides_ = broadcast_strides(part, target);
    const std::vector<int64_t> whole = strides_of(input.shape);
    for (size_t axis = 0; axis < whole.size(); ++axis) {
      int64_t& stride = strides_[strides_.size() - whole.size() + axis];
      if (stride != 0) stride = whole[axis];
    }
  }
  Reader(const TensorArg& input, std::span<const int64_t> target, int64_t count) : input_(input) {
    if (input.numel() == count || input.numel() == 1) {
      shape_ = {count};
      strides_ = {input.numel() == count ? 1 : 0};
    } else {
      shape_.assign(target.begin(), target.end());
      strides_ = broadcast_strides(input.shape, target);
    }
  }

  void read(int64_t begin, int64_t n, Register& out) const {
    visit_dtype(input_.dtype, [&]<class T>() { read_as<T>(begin, n, out.as<Held<T>>()); });
  }

 private:
  template <class T>
  void read_as(int64_t begin, int64_t n, Held<T>* out) const {
    using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;  // a bool's byte may be any
    const Stored* data = input_.as<const Stored>();
    const int64_t step = strides_.back(), width = shape_.back();
    for (int64_t i = begin; i < begin + n;) {
      int64_t rest = i, offset = first_;
      for (size_t axis = shape_.size(); axis-- > 0; rest /= shape_[axis]) offset += rest % shape_[axis] * strides_[axis];
      int64_t run = std::min(begin + n - i, width - i % width);
      if (half_ > 0) {
        offset += PointwiseColumns::shift(i % width, half_);
        run = std::min(run, half_ - i % width % half_);
      }
      for (int64_t j = 0; j < run; ++j) {
        const auto v = static_cast<Held<T>>(data[offset + j * step]);
        *out++ = std::is_same_v<T, bool> && v != 0 ? Held<T>{1} : v;
      }
      i += run;
    }
  }

  TensorArg input_;
  std::vector<int64_t> shape_, strides_;
  int64_t first_ = 0, half_ = 0;
};

// ---- Instructions ----------------------------------------------------------------------------------------------------

// An instruction with its registers.
struct Step {
  PointwiseInstruction instruction;
  std::array<const Register*, 3> in{};
  Register* out = nullptr;
};

template <class In, class Out, class F>
void map(const Step& step, int64_t n, F f) {
  const In* a = step.in[0]->as<In>();
  Out* y = step.out->as<Out>();
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<Out>(f(a[i]));
}

template <class In, class Out, class F>
void zip(const Step& step, int64_t n, F f) {
  const In *a = step.in[0]->as<In>(), *b = step.in[1]->as<In>();
  Out* y = step.out->as<Out>();
  for (int64_t i = 0; i < n; ++i) y[i] = static_cast<Out>(f(a[i], b[i]));
}

// Functions of floats only; R is float or double.
template <class R>
void run_float(const Step& step, int64_t n) {
  using Gelu = PointwiseInstruction::Gelu;
  switch (step.instruction.op) {
    case Op::k_exp: return map<R, R>(step, n, fn::Exp());
    case Op::k_log: return map<R, R>(step, n, fn::Log());
    case Op::k_sqrt: return map<R, R>(step, n, fn::Sqrt());
    case Op::k_rsqrt: return map<R, R>(step, n, fn::Rsqrt());
    case Op::k_reciprocal: return map<R, R>(step, n, fn::Reciprocal());
    case Op::k_erf: return map<R, R>(step, n, fn::Erf());
    case Op::k_sin: return map<R, R>(step, n, fn::Sin());
    case Op::k_cos: return map<R, R>(step, n, fn::Cos());
    case Op::k_tan:
      return map<R, R>(step, n, fn::Tan());
    case Op::k_asin:
      return map<R, R>(step, n, fn::Asin());
    case Op::k_acos:
      return map<R, R>(step, n, fn::Acos());
    case Op::k_atan:
      return map<R, R>(step, n, fn::Atan());
    case Op::k_sinh:
      return map<R, R>(step, n, fn::Sinh());
    case Op::k_cosh:
      return map<R, R>(step, n, fn::Cosh());
    case Op::k_asinh:
      return map<R, R>(step, n, fn::Asinh());
    case Op::k_acosh:
      return map<R, R>(step, n, fn::Acosh());
    case Op::k_atanh:
      return map<R, R>(step, n, fn::Atanh());
    case Op::k_tanh: return map<R, R>(step, n, fn::Tanh());
    case Op::k_sigmoid: return map<R, R>(step, n, fn::Sigmoid());
    case Op::k_softplus: return map<R, R>(step, n, fn::Softplus());
    case Op::k_silu: return map<R, R>(step, n, fn::Silu());
    case Op::k_floor: return map<R, R>(step, n, fn::Floor());
    case Op::k_ceil: return map<R, R>(step, n, fn::Ceil());
    case Op::k_round: return map<R, R>(step, n, fn::Round());
    case Op::k_leaky_relu: return map<R, R>(step, n, fn::LeakyRelu(step.instruction.operands[1].literal));
    case Op::k_is_nan: return map<R, uint8_t>(step, n, fn::IsNan());
    case Op::k_gelu:
      switch (step.instruction.gelu) {
        case Gelu::kErf: return map<R, R>(step, n, fn::GeluErf());
        case Gelu::kTanh: return map<R, R>(step, n, fn::GeluTanh());
        case Gelu::kSigmoid: return map<R, R>(step, n, fn::GeluSigmoid());
      }
      return;
    default: return;
  }
}

// Functions of all dtypes, then those of floats.
template <class R>
void run_any(const Step& step, int64_t n) {
  switch (step.instruction.op) {
    case Op::k_neg: return map<R, R>(step, n, fn::Neg());
    case Op::k_abs: return map<R, R>(step, n, fn::Abs());
    case Op::k_sign: return map<R, R>(step, n, fn::Sign());
    case Op::k_relu: return map<R, R>(step, n, fn::Relu());
    case Op::k_add: return zip<R, R>(step, n, fn::Add());
    case Op::k_sub: return zip<R, R>(step, n, fn::Sub());
    case Op::k_mul: return zip<R, R>(step, n, fn::Mul());
    case Op::k_div: return zip<R, R>(step, n, fn::Div());
    case Op::k_pow: return zip<R, R>(step, n, fn::Pow());
    case Op::k_min: return zip<R, R>(step, n, fn::Min());
    case Op::k_max: return zip<R, R>(step, n, fn::Max());
    case Op::k_equal: return zip<R, uint8_t>(step, n, fn::Equal());
    case Op::k_less: return zip<R, uint8_t>(step, n, fn::Less());
    case Op::k_less_equal: return zip<R, uint8_t>(step, n, fn::LessEqual());
    case Op::k_greater: return zip<R, uint8_t>(step, n, fn::Greater());
    case Op::k_greater_equal: return zip<R, uint8_t>(step, n, fn::GreaterEqual());
    case Op::k_mod: {
      fn::Mod mod;
      mod.fmod = std::is_floating_point_v<R>;
      return zip<R, R>(step, n, mod);
    }
    case Op::k_where: {
      const uint8_t* c = step.in[0]->as<uint8_t>();
      const R *a = step.in[1]->as<R>(), *b = step.in[2]->as<R>();
      R* y = step.out->as<R>();
      for (int64_t i = 0; i < n; ++i) y[i] = c[i] != 0 ? a[i] : b[i];
      return;
    }
    default: break;
  }
  if constexpr (std::is_floating_point_v<R>) run_float<R>(step, n);
}

void run_logical(const Step& step, int64_t n) {
  switch (step.instruction.op) {
    case Op::k_not: return map<uint8_t, uint8_t>(step, n, [](uint8_t v) { return v == 0; });
    case Op::k_and: return zip<uint8_t, uint8_t>(step, n, fn::And());
    case Op::k_or: return zip<uint8_t, uint8_t>(step, n, fn::Or());
    case Op::k_xor: return zip<uint8_t, uint8_t>(step, n, fn::Xor());
    default: return run_any<uint8_t>(step, n);  // comparisons and where
  }
}

void run_cast(const Step& step, int64_t n) {
  visit_dtype(step.instruction.operand_dtype, [&]<class From>() {
    visit_dtype(step.instruction.dtype, [&]<class To>() {
      map<Held<From>, Held<To>>(step, n, [](Held<From> v) { return static_cast<Held<To>>(convert<To>(v)); });
    });
  });
}

template <class R>
bool has_zero(const Register& divisors, int64_t n) {
  return std::find(divisors.as<R>(), divisors.as<R>() + n, R{0}) != divisors.as<R>() + n;
}

Status run_step(const Step& step, int64_t n) {
  const PointwiseInstruction& i = step.instruction;
  if (i.op == Op::k_cast) {
    run_cast(step, n);
  } else if (i.operand_dtype == DType::kBool) {
    run_logical(step, n);
  } else {
    return visit_dtype(i.operand_dtype, [&]<class T>() -> Status {
      using R = Held<T>;
      if constexpr (std::is_integral_v<R>) {
        if ((i.op == Op::k_div || i.op == Op::k_mod) && has_zero<R>(*step.in[1], n)) {
          return error(ErrorCode::kBadInput, "division by zero in '{}'", ir::op_name(i.op));
        }
      }
      run_any<R>(step, n);
      return {};
    });
  }
  return {};
}

// ---- Programs --------------------------------------------------------------------------------------------------------

// Registers of a program: the inputs', then each instruction's literals and result.
class Machine {
 public:
  explicit Machine(const PointwiseProgram& program) : inputs_(program.inputs.size()) {
    literals_.reserve(3 * program.instructions.size());  // steps point into it
    results_.resize(program.instructions.size());
    for (const PointwiseInstruction& instruction : program.instructions) {
      Step step{.instruction = instruction, .out = &results_[steps_.size()]};
      for (size_t i = 0; i < static_cast<size_t>(instruction.arity); ++i) {
        step.in[i] = source(instruction.operands[i], instruction.operand_dtype);
      }
      steps_.push_back(step);
    }
  }

  Register& input(size_t i) { return inputs_[i]; }
  const Register& result() const { return results_.back(); }

  Status run(int64_t n) {
    for (const Step& step : steps_) TENON_TRY(run_step(step, n));
    return {};
  }

 private:
  const Register* source(const PointwiseOperand& operand, DType dtype) {
    switch (operand.kind) {
      case PointwiseOperand::Kind::kInput: return &inputs_[static_cast<size_t>(operand.index)];
      case PointwiseOperand::Kind::kTemporary: return &results_[static_cast<size_t>(operand.index)];
      case PointwiseOperand::Kind::kLiteral: break;
    }
    Register& literal = literals_.emplace_back();
    visit_dtype(dtype, [&]<class T>() {
      using R = Held<T>;
      const R value = std::is_same_v<T, bool> ? static_cast<R>(operand.literal != 0) : convert<R>(operand.literal);
      std::fill(literal.as<R>(), literal.as<R>() + kBlock, value);
    });
    return &literal;
  }

  std::vector<Register> inputs_, literals_, results_;
  std::vector<Step> steps_;
};

Result<PointwiseProgram> program_of(const Attrs& attrs, std::span<const DType> inputs) {
  return parse_pointwise(attrs.text("program"), inputs, attrs.dtype("dtype"));
}

Status infer(InferContext& c) {
  std::vector<DType> dtypes;
  Shape shape;
  const PointwiseColumns columns(c.attrs);
  for (int i = 0; i < c.num_inputs(); ++i) {
    if (!c.has(i)) return error(ErrorCode::kBadModel, "input {} is missing", i);
    dtypes.push_back(c.dtype(i));
    Shape read = c.shape(i);
    if (columns.is_part(static_cast<size_t>(i))) {
      const int64_t first = columns.first(static_cast<size_t>(i)), given = read.empty() || !read.back().is_const() ? 0 : read.back().value();
      if (first > given || columns.width() > given - first) {
        return error(ErrorCode::kBadModel, "input {} of type {} has not {} columns from {} on", i, c.type(i).to_string(), columns.width(), first);
      }
      if (const int64_t half = columns.half(static_cast<size_t>(i)); half < 0 || (half > 0 && columns.width() / 2 % half != 0) || (half > 0 && columns.width() % 2 != 0)) {
        return error(ErrorCode::kBadModel, "{} columns are not of pairs of {}", columns.width(), half);
      }
      read.back() = Dim(columns.width());
    }
    TENON_ASSIGN(shape, c.broadcast(shape, read));
  }
  TENON_TRY(program_of(c.attrs, dtypes).status());
  return c.output(c.attrs.dtype("dtype"), std::move(shape));
}

// Errors: bad-input (integer division by zero; shapes).
Status reference(const Attrs& attrs, const RunArgs& args) {
  std::vector<DType> dtypes;
  for (const TensorArg& input : args.inputs) dtypes.push_back(input.dtype);
  TENON_ASSIGN(const PointwiseProgram program, program_of(attrs, dtypes));
  const TensorArg y = args.output();
  const int64_t count = y.numel();
  const PointwiseColumns columns(attrs);
  std::vector<Reader> readers;
  for (size_t i = 0; i < args.inputs.size(); ++i) {
    const TensorArg& input = args.inputs[i];
    const bool is_part = columns.is_part(i);
    std::vector<int64_t> read(input.shape.begin(), input.shape.end());
    if (is_part) read.back() = columns.width();
    TENON_TRY(check_broadcast(read, y.shape, i));
    if (is_part) {
      readers.emplace_back(input, columns.first(i), columns.width(), columns.half(i), y.shape);
    } else {
      readers.emplace_back(input, y.shape, count);
    }
  }
  Machine machine(program);
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t n = std::min(kBlock, count - begin);
    for (size_t i = 0; i < readers.size(); ++i) readers[i].read(begin, n, machine.input(i));
    TENON_TRY(machine.run(n));
    visit_dtype(y.dtype, [&]<class T>() {
      const Held<T>* result = machine.result().as<Held<T>>();
      for (int64_t i = 0; i < n; ++i) y.as<T>()[begin + i] = convert<T>(result[i]);
    });
  }
  return {};
}

double flops(const Attrs& attrs, std::span<const TensorArg>, std::span<const TensorArg> outputs) {
  const std::string& program = attrs.text("program");
  return static_cast<double>(std::count(program.begin(), program.end(), '=')) * static_cast<double>(outputs[0].numel());
}

}  // namespace

void run_on_floats(const PointwiseInstruction& instruction, const float* a, const float* b, float* out, int64_t n) {
  Register left, right, result;
  const Step step{.instruction = instruction, .in = {&left, &right, &right}, .out = &result};
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t count = std::min(kBlock, n - i);
    std::copy_n(a + i, count, left.as<float>());
    if (instruction.arity > 1) std::copy_n(b + i, count, right.as<float>());
    run_any<float>(step, count);
    std::copy_n(result.as<float>(), count, out + i);
  }
}

OpDef define_pointwise() {
  return {.summary = "y = program(x0, x1, …), a chain of elementwise ops over inputs that broadcast together: "
                     "\"t0=add(x0,x1);t1=tanh(t0);t2=mul(t1,0.5)\" (ops/pointwise_program.h)",
          .inputs = {{"x", Arity::kVariadic}},
          .attrs = {{"program", std::string(), true, "instructions t<i>=function(operands), the last one gives y"},
                    {"dtype", DType::kF32, true, "of y"},
                    {"width", int64_t{0}, false, "n > 0: of some inputs n columns of the last axis are read"},
                    {"columns", std::vector<int64_t>{}, false, "for each input the first of them; -1: the input is read whole"},
                    {"halves", std::vector<int64_t>{}, false, "for each input: h > 0: of those, blocks of h columns change places with the next"}},
          .locality = Locality::kElementwise,
          .infer = infer,
          .flops = flops,
          .reference = reference};
}

}  // namespace tenon::ops
