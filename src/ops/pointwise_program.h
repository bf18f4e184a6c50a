// Programs of the `pointwise` op: a chain of elementwise ops as text, parsed once into instructions that the reference and
// the CPU kernels run.
//
//   t0 = add(x0, x1); t1 = tanh(t0); t2 = mul(t1, 0.5)
//
// One instruction per ';', numbered from t0; the last is the result. Operands are inputs x<i>, earlier results t<i> and
// literal numbers (inf, -inf and nan too). Functions are the elementwise ops by name, besides
//   gelu, gelu_tanh, gelu_sigmoid    one operand
//   leaky_relu(x, alpha)             alpha is a literal
//   where(c, a, b)                   c is bool
//   mod(a, b)                        sign of b for integers, fmod for floats
//   cast_<dtype>(x)                  "cast_f32"
// Operands of an instruction are of one dtype, which literals take on; comparisons, not and is_nan give bool. Floats other
// than f64 are computed in f32 and rounded by casts and at the end only; integers wrap as their dtype does.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "ops/op_def.h"

namespace tenon::ops {

struct PointwiseOperand {
  enum class Kind : uint8_t { kInput, kTemporary, kLiteral };
  Kind kind = Kind::kLiteral;
  int index = 0;       // of the input or the instruction
  double literal = 0;
};

struct PointwiseInstruction {
  enum class Gelu : uint8_t { kErf, kTanh, kSigmoid };
  Op op{};                     // k_cast and k_where besides elementwise ops
  Gelu gelu = Gelu::kErf;      // for k_gelu
  DType dtype = DType::kF32;   // of the result
  DType operand_dtype = DType::kF32;  // of the operands; for where, of the last two
  int arity = 1;
  std::array<PointwiseOperand, 3> operands{};
};

struct PointwiseProgram {
  std::vector<DType> inputs;
  std::vector<PointwiseInstruction> instructions;  // at least one
};

// `inputs` are the dtypes of x0, x1 …, `result` that of the last instruction. Errors: bad-model, naming the instruction.
Result<PointwiseProgram> parse_pointwise(std::string_view text, std::span<const DType> inputs, DType result);

// Which columns of its inputs' last axes a program reads: attributes `width`, `columns` and `halves` of pointwise.
class PointwiseColumns {
 public:
  PointwiseColumns() = default;  // all of them
  explicit PointwiseColumns(const Attrs& attrs);

  // Whether it reads `width` of input i's columns, from first(i) on.
  bool is_part(size_t i) const { return i < first_.size() && first_[i] >= 0; }
  int64_t first(size_t i) const { return is_part(i) ? first_[i] : 0; }
  int64_t width() const { return width_; }
  // h > 0: of those blocks of h columns change places with the next, as rotary embeddings need them.
  int64_t half(size_t i) const { return is_part(i) && i < halves_.size() ? halves_[i] : 0; }
  bool any_half() const;
  // How far from its own place the column stands that is read for column `c` of them; h > 0.
  static int64_t shift(int64_t c, int64_t h) { return c / h % 2 == 0 ? h : -h; }

 private:
  int64_t width_ = 0;
  std::vector<int64_t> first_, halves_;
};

// One instruction whose operands and result are f32, on n elements of each; b is read if it takes two. `out` may be a or b.
void run_on_floats(const PointwiseInstruction& instruction, const float* a, const float* b, float* out, int64_t n);

}  // namespace tenon::ops
