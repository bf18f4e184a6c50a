// pointwise, every other elementwise op and cast: pointwise.cu around the program as C++ text.
#include <bit>

#include "kernels/cpu/strided.h"
#include "kernels/cuda/device/grid_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"
#include "kernels/elementwise.h"

namespace tenon::kernels::cuda {
namespace {

using ops::PointwiseInstruction;
using ops::PointwiseOperand;
using ops::PointwiseProgram;

bool is_pointwise_dtype(DType t) {
  return is_row_dtype(t) || t == DType::kI32 || t == DType::kI64 || t == DType::kBool;
}

// ---- Programs as text -----------------------------------------------------------------------------------------------

std::string literal_text(double value, DType t) {
  switch (t) {
    case DType::kBool:
      return value != 0 ? "true" : "false";
    case DType::kI32:
      return fmt::format("i32(0x{:x}u)", static_cast<uint32_t>(convert<int32_t>(value)));
    case DType::kI64:
      return fmt::format("i64(0x{:x}ull)", static_cast<uint64_t>(convert<int64_t>(value)));
    default:
      return fmt::format("__int_as_float(0x{:x})", std::bit_cast<uint32_t>(static_cast<float>(value)));
  }
}

// The name of the function in device code, in activation.cuh or scalar.cuh.
std::string function_text(const PointwiseInstruction& i) {
  using Gelu = PointwiseInstruction::Gelu;
  const std::string gelu = i.gelu == Gelu::kErf ? "" : (i.gelu == Gelu::kTanh ? "Tanh" : "Sigmoid");
  // Results of 16 bits hide the error of the fast forms.
  if (dtype_size(i.operand_dtype) == 2) {
    switch (i.op) {
      case Op::k_gelu:
        return "activate<kGelu" + gelu + ">";
      case Op::k_tanh:
        return "activate<kTanh>";
      case Op::k_sigmoid:
        return "activate<kSigmoid>";
      case Op::k_silu:
        return "activate<kSilu>";
      default:
        break;
    }
  }
  switch (i.op) {
    case Op::k_gelu:
      return i.gelu == Gelu::kErf ? "fn::gelu" : (i.gelu == Gelu::kTanh ? "fn::gelu_tanh" : "fn::gelu_sigmoid");
    case Op::k_cast:
      return fmt::format("fn::cast<{}>", dtype_name(i.dtype));
    case Op::k_not:
    case Op::k_and:
    case Op::k_or:
    case Op::k_xor:
      return fmt::format("fn::logical_{}", ir::op_name(i.op));
    default:
      return fmt::format("fn::{}", ir::op_name(i.op));
  }
}

std::string program_text(const PointwiseProgram& program) {
  std::string text;
  for (size_t n = 0; n < program.instructions.size(); ++n) {
    const PointwiseInstruction& i = program.instructions[n];
    std::string operands;
    for (int k = 0; k < i.arity; ++k) {
      const PointwiseOperand& o = i.operands[static_cast<size_t>(k)];
      if (k > 0) operands += ',';
      switch (o.kind) {
        case PointwiseOperand::Kind::kInput:
          operands += fmt::format("x{}", o.index);
          break;
        case PointwiseOperand::Kind::kTemporary:
          operands += fmt::format("t{}", o.index);
          break;
        case PointwiseOperand::Kind::kLiteral:
          operands += literal_text(o.literal, i.op == Op::k_where && k == 0 ? DType::kBool : i.operand_dtype);
      }
    }
    text += fmt::format("const Held<{}> t{}={}({});", dtype_name(i.dtype), n, function_text(i), operands);
  }
  return text + fmt::format("return t{};", program.instructions.size() - 1);
}

// ---- The kernel -----------------------------------------------------------------------------------------------------

class PointwiseKernel final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.pointwise"; }

  Support supports(const Problem& p) const override {
    if (ops::op_def(p.op).locality != ops::Locality::kElementwise) return Support::no("not an elementwise op");
    for (size_t i = 0; i < p.inputs.size(); ++i)
      if (!is_pointwise_dtype(p.inputs[i].dtype))
        return Support::no(fmt::format("input {} is {}", i, dtype_name(p.inputs[i].dtype)));
    if (p.inputs.size() > PointwiseArgs::kMostInputs)
      return Support::no(fmt::format("more than {} inputs", PointwiseArgs::kMostInputs));
    if (p.outputs[0].rank() > kMostGridAxes) return Support::no(fmt::format("more than {} axes", kMostGridAxes));
    if (p.op == Op::k_mod && p.attrs.integer("fmod") == 0) return Support::no("mod of the divisor's sign");
    const auto program = elementwise_program(p);
    if (!program.ok()) return Support::no(program.status().message());
    for (const PointwiseInstruction& i : program->instructions) {
      for (const DType t : {i.dtype, i.operand_dtype})
        if (!is_pointwise_dtype(t)) return Support::no(fmt::format("{} works on {}", ir::op_name(i.op), dtype_name(t)));
      const bool divides = i.op == Op::k_div || i.op == Op::k_mod || i.op == Op::k_pow;
      if (divides && !is_float(i.operand_dtype))
        return Support::no(fmt::format("{} of integers may fail", ir::op_name(i.op)));
    }
    return Support::yes();
  }

  // A thread reads all that it replaces before it writes.
  bool in_place(const Problem& p, int index) const override {
    return p.inputs[static_cast<size_t>(index)] == p.outputs[0] && !columns_of(p).any_half();
  }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    std::string inputs;
    const ops::PointwiseColumns columns = columns_of(p);
    for (size_t i = 0; i < p.inputs.size(); ++i)
      inputs += fmt::format("{}X({},{},{})", i == 0 ? "" : " ", i, dtype_name(p.inputs[i].dtype), columns.half(i));
    return DeviceSource{"pointwise.cu",
                        "pointwise",
                        {"INPUTS=" + inputs, fmt::format("RESULT={}", dtype_name(p.outputs[0].dtype)),
                         fmt::format("VECTOR={}", vector_of(p)), "PROGRAM=" + program_text(*elementwise_program(p))}};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    return make_launcher([columns = columns_of(p), vector = vector_of(p), &device,
                          function](const RunArgs& run) -> Status {
      const TensorArg y = run.output();
      if (y.numel() == 0) return {};
      if (y.numel() > INT32_MAX) return error(ErrorCode::kUnsupported, "a tensor of more than 2^31 - 1 elements");
      cpu::Broadcast grid(y.shape);
      for (size_t i = 0; i < run.inputs.size(); ++i)
        if (!add_to(grid, columns, i, run.inputs[i].shape))
          return error(ErrorCode::kBadInput, "input {} does not fit the output's shape", i);
      grid.merge_axes();
      PointwiseArgs args = {};
      args.y = y.data;
      args.count = static_cast<unsigned>(y.numel());
      args.rank = grid.rank();
      for (int axis = 0; axis < args.rank; ++axis) args.sizes[axis] = divisor(grid.size(axis));
      bool vectors = is_aligned(y, vector) && (args.rank == 1 || grid.columns() % vector == 0);
      for (size_t k = 0; k < run.inputs.size(); ++k) {
        const int i = static_cast<int>(k);
        TensorArg x = run.inputs[k];
        x.data = x.as<std::byte>() + columns.first(k) * static_cast<int64_t>(dtype_size(x.dtype));
        args.x[i] = x.data;
        for (int axis = 0; axis < args.rank; ++axis) args.strides[i][axis] = static_cast<int>(grid.stride(i, axis));
        if (grid.step(i) != 1) continue;
        vectors = vectors && is_aligned(x, vector) && columns.half(k) % vector == 0;
        for (int axis = 0; axis + 1 < args.rank; ++axis) vectors = vectors && grid.stride(i, axis) % vector == 0;
      }
      args.vectors = vectors;
      return launch_with(device, function, run, launch_flat(vectors ? blocks_for(y.numel(), vector) : y.numel()), args);
    });
  }

 private:
  // 16 bytes of the narrowest type.
  static int vector_of(const Problem& p) {
    size_t narrowest = dtype_size(p.outputs[0].dtype);
    for (const TensorType& t : p.inputs) narrowest = std::min(narrowest, dtype_size(t.dtype));
    return std::min(8, 16 / static_cast<int>(narrowest));
  }
  static bool is_aligned(const TensorArg& t, int vector) {
    return device_ptr(t) % std::min<size_t>(16, static_cast<size_t>(vector) * dtype_size(t.dtype)) == 0;
  }
};

}  // namespace

const Kernel& pointwise_kernel() {
  static const PointwiseKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
