// pointwise and the elementwise ops: programs run over blocks of elements that stay in the first-level cache. All
// values are f32 in registers; a bool is 1 or 0 there and a byte in memory.
#include <cstring>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/strided.h"
#include "kernels/elementwise.h"

namespace tenon::kernels::cpu {
namespace {

using ops::PointwiseColumns;
using ops::PointwiseInstruction;
using ops::PointwiseOperand;
using ops::PointwiseProgram;

constexpr int64_t kBlock = 512;  // elements of a register
constexpr int kMostInputs = 16;
constexpr int kMostRegisters = 48;

bool is_held(DType t) { return t == DType::kF32 || t == DType::kBool; }

// ---- From instructions to functions
// ----------------------------------------------------------------------------------

std::optional<Function> function_of(const PointwiseInstruction& i) {
  using Gelu = PointwiseInstruction::Gelu;
  switch (i.op) {
    case Op::k_neg:
      return Function::kNeg;
    case Op::k_abs:
      return Function::kAbs;
    case Op::k_sign:
      return Function::kSign;
    case Op::k_exp:
      return Function::kExp;
    case Op::k_sqrt:
      return Function::kSqrt;
    case Op::k_rsqrt:
      return Function::kRsqrt;
    case Op::k_reciprocal:
      return Function::kReciprocal;
    case Op::k_erf:
      return Function::kErf;
    case Op::k_tanh:
      return Function::kTanh;
    case Op::k_sigmoid:
      return Function::kSigmoid;
    case Op::k_relu:
      return Function::kRelu;
    case Op::k_silu:
      return Function::kSilu;
    case Op::k_floor:
      return Function::kFloor;
    case Op::k_ceil:
      return Function::kCeil;
    case Op::k_round:
      return Function::kRound;
    case Op::k_gelu:
      return i.gelu == Gelu::kErf ? Function::kGelu
                                  : (i.gelu == Gelu::kTanh ? Function::kGeluTanh : Function::kGeluSigmoid);
    case Op::k_leaky_relu:
      return Function::kLeakyRelu;
    case Op::k_add:
      return Function::kAdd;
    case Op::k_sub:
      return Function::kSub;
    case Op::k_mul:
      return Function::kMul;
    case Op::k_div:
      return Function::kDiv;
    case Op::k_min:
      return Function::kMin;
    case Op::k_max:
      return Function::kMax;
    case Op::k_not:
      return Function::kNot;
    case Op::k_is_nan:
      return Function::kIsNan;
    case Op::k_equal:
      return Function::kEqual;
    case Op::k_less:
      return Function::kLess;
    case Op::k_less_equal:
      return Function::kLessEqual;
    case Op::k_greater:
      return Function::kGreater;
    case Op::k_greater_equal:
      return Function::kGreaterEqual;
    case Op::k_and:
      return Function::kAnd;
    case Op::k_or:
      return Function::kOr;
    case Op::k_xor:
      return Function::kXor;
    case Op::k_where:
      return Function::kWhere;
    default:
      return std::nullopt;
  }
}

Support check_program(const Problem& problem, const PointwiseProgram& program) {
  if (program.inputs.size() > kMostInputs) return Support::no(fmt::format("more than {} inputs", kMostInputs));
  if (program.inputs.size() + program.instructions.size() > kMostRegisters)
    return Support::no("the program is too long");
  if (problem.outputs[0].rank() > kMostAxes) return Support::no(fmt::format("more than {} axes", kMostAxes));
  for (size_t i = 0; i < program.inputs.size(); ++i)
    if (!is_held(program.inputs[i]))
      return Support::no(fmt::format("input {} is {}", i, dtype_name(program.inputs[i])));
  for (const PointwiseInstruction& i : program.instructions) {
    const bool cast = i.op == Op::k_cast;
    if (!is_held(i.dtype) || !is_held(i.operand_dtype))
      return Support::no(
          fmt::format("{} works on {}", ir::op_name(i.op), dtype_name(is_held(i.dtype) ? i.operand_dtype : i.dtype)));
    const bool of_floats = i.dtype == DType::kF32 && i.operand_dtype == DType::kF32;
    if (!cast && !function_of(i) && !of_floats)
      return Support::no(fmt::format("{} has no vector form", ir::op_name(i.op)));
  }
  return Support::yes();
}

// ---- Launching
// -------------------------------------------------------------------------------------------------------

// Which register an operand is in: inputs, then results, then literals.
struct Step {
  std::optional<Function> function;  // none: element by element
  PointwiseInstruction instruction;
  bool copy = false;  // a cast: truth of a number, or nothing to do
  int in[3] = {0, 0, 0};
  int out = 0;
};

class PointwiseLauncher final : public Launcher {
 public:
  PointwiseLauncher(const PointwiseProgram& program, const PointwiseColumns& columns, const VectorCode& code)
      : code_(code), columns_(columns), inputs_(static_cast<int>(program.inputs.size())) {
    const int results = static_cast<int>(program.instructions.size());
    for (const PointwiseInstruction& instruction : program.instructions) {
      Step step{.function = {}, .instruction = instruction, .out = inputs_ + static_cast<int>(steps_.size())};
      for (int i = 0; i < instruction.arity; ++i)
        step.in[i] = register_of(instruction.operands[static_cast<size_t>(i)], results);
      for (int i = instruction.arity; i < 3; ++i) step.in[i] = step.in[0];
      if (instruction.op == Op::k_cast) {
        // A bool is 1 or 0 already; a number becomes one by comparing it with 0.
        step.copy = instruction.dtype != DType::kBool || instruction.operand_dtype == DType::kBool;
        step.function = Function::kOr;
        step.in[1] = step.in[0];
      } else {
        step.function = function_of(instruction);
      }
      steps_.push_back(step);
    }
    registers_ = inputs_ + results + static_cast<int>(literals_.size());
  }

  size_t workspace(const RunArgs&, int threads) const override {
    return static_cast<size_t>(registers_) * kBlock * sizeof(float) * static_cast<size_t>(threads);
  }

  Status launch(const RunArgs& args) const override {
    const TensorArg y = args.output();
    Broadcast grid(y.shape);
    for (int i = 0; i < inputs_; ++i) {
      if (!add_to(grid, columns_, static_cast<size_t>(i), args.inputs[static_cast<size_t>(i)].shape))
        return error(ErrorCode::kBadInput, "input {} does not fit the output's shape", i);
    }
    grid.merge_axes();
    const int64_t runs = ceil_div(grid.columns(), kBlock);  // blocks of one row
    for_range(args.pool, grid.rows() * runs, y.numel() * static_cast<int64_t>(steps_.size()),
              [&](int64_t begin, int64_t end, int thread) {
                float* registers = static_cast<float*>(args.workspace) + thread * registers_ * kBlock;
                for (size_t i = 0; i < literals_.size(); ++i)
                  std::fill_n(registers + (static_cast<size_t>(inputs_) + steps_.size() + i) * kBlock, kBlock,
                              literals_[i]);
                for (int64_t i = begin; i < end; ++i) {
                  const int64_t column = i % runs * kBlock;
                  run_block(args, grid, i / runs, column, std::min(kBlock, grid.columns() - column), registers);
                }
              });
    return {};
  }

 private:
  int register_of(const PointwiseOperand& operand, int results) {
    if (operand.kind == PointwiseOperand::Kind::kInput) return operand.index;
    if (operand.kind == PointwiseOperand::Kind::kTemporary) return inputs_ + operand.index;
    literals_.push_back(static_cast<float>(operand.literal));
    return inputs_ + results + static_cast<int>(literals_.size()) - 1;
  }

  void run_block(const RunArgs& args, const Broadcast& grid, int64_t row, int64_t column, int64_t count,
                 float* registers) const {
    // Where each register's values are: dense f32 inputs are read where they lie.
    const float* at[kMostRegisters + 3 * kMostRegisters];
    for (int i = 0; i < registers_; ++i) at[i] = registers + i * kBlock;
    for (int i = 0; i < inputs_; ++i) {
      const int64_t step = grid.step(i);
      const int64_t offset = columns_.first(static_cast<size_t>(i)) + grid.offset(i, row) + column * step;
      const TensorArg& x = args.inputs[static_cast<size_t>(i)];
      float* room = registers + i * kBlock;
      const int64_t half = columns_.half(static_cast<size_t>(i));
      at[i] = half > 0 ? read_halves(x, offset, column, half, count, room) : read(x, offset, step, count, room);
    }
    const TensorArg y = args.output();
    const int64_t first = row * grid.columns() + column;
    float* const direct = y.dtype == DType::kF32 ? y.as<float>() + first : nullptr;
    for (size_t s = 0; s < steps_.size(); ++s) {
      const Step& step = steps_[s];
      const bool last = s + 1 == steps_.size();
      float* out = last && direct != nullptr ? direct : registers + step.out * kBlock;
      if (!step.copy && !step.function) {
        ops::run_on_floats(step.instruction, at[step.in[0]], at[step.in[1]], out, count);
        at[step.out] = out;
      } else if (!step.copy) {
        code_.apply(*step.function, at[step.in[0]], at[step.in[1]], at[step.in[2]], out, count);
        at[step.out] = out;
      } else if (last && direct != nullptr) {
        std::copy_n(at[step.in[0]], count, out);
      } else {
        at[step.out] = at[step.in[0]];
      }
    }
    if (direct != nullptr) return;
    const float* result = at[steps_.back().out];
    auto* bytes = y.as<uint8_t>() + first;
    for (int64_t i = 0; i < count; ++i) bytes[i] = result[i] != 0.0f;
  }

  // Where blocks of `half` columns change places; the first element read is that of `column`.
  static const float* read_halves(const TensorArg& x, int64_t offset, int64_t column, int64_t half, int64_t count,
                                  float* room) {
    for (int64_t i = 0; i < count;) {
      const int64_t c = column + i, run = std::min(count - i, half - c % half);
      const float* from = read(x, offset + i + PointwiseColumns::shift(c, half), 1, run, room + i);
      if (from != room + i) std::copy_n(from, run, room + i);
      i += run;
    }
    return room;
  }

  static const float* read(const TensorArg& x, int64_t offset, int64_t step, int64_t count, float* room) {
    if (x.dtype == DType::kBool) {
      const auto* bytes = x.as<const uint8_t>() + offset;
      for (int64_t i = 0; i < count; ++i) room[i] = bytes[i * step] != 0 ? 1.0f : 0.0f;
      return room;
    }
    const auto* values = x.as<const float>() + offset;
    if (step == 1) return values;
    if (step == 0) {
      std::fill_n(room, count, *values);
    } else {
      for (int64_t i = 0; i < count; ++i) room[i] = values[i * step];
    }
    return room;
  }

  const VectorCode& code_;
  PointwiseColumns columns_;
  int inputs_, registers_ = 0;
  std::vector<Step> steps_;
  std::vector<float> literals_;
};

class PointwiseKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.pointwise.f32"; }

  Support supports(const Problem& problem) const override {
    const bool elementwise =
        ops::op_def(problem.op).locality == ops::Locality::kElementwise && problem.op != Op::k_cast;
    if (!elementwise && problem.op != Op::k_where) return Support::no("not an elementwise op");
    if (problem.op == Op::k_mod) return Support::no("mod carries an attribute that programs do not");
    for (size_t i = 0; i < problem.inputs.size(); ++i)
      if (!is_held(problem.inputs[i].dtype))
        return Support::no(fmt::format("input {} is {}", i, dtype_name(problem.inputs[i].dtype)));
    const Result<PointwiseProgram> program = elementwise_program(problem);
    if (!program.ok()) return Support::no(program.status().message());
    return check_program(problem, *program);
  }

  // An operand that is read in whole blocks before they are written may be overwritten, if it is not broadcast, nor
  // read at other places too.
  bool in_place(const Problem& problem, int index) const override {
    return problem.inputs[static_cast<size_t>(index)] == problem.outputs[0] && !columns_of(problem).any_half();
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<PointwiseLauncher>(*elementwise_program(problem), columns_of(problem), code);
  }
};

}  // namespace

const CpuKernel& pointwise_kernel() {
  static const PointwiseKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
