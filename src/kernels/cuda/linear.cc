#include "kernels/cuda/linear.h"

#include <bit>
#include <limits>
#include <span>

#include "ir/dim.h"
#include "ops/activation.h"
#include "ops/support.h"

namespace tenon::kernels::cuda {
namespace {

// To the nearest number with 10 bits of mantissa: wgmma would cut the others off.
void round_to_tf32(std::span<float> values) {
  constexpr uint32_t kExponent = 0x7f800000, kRest = 0x1fff;
  for (float& value : values) {
    const auto bits = std::bit_cast<uint32_t>(value);
    if ((bits & kExponent) != kExponent) value = std::bit_cast<float>((bits + (kRest + 1) / 2) & ~kRest);
  }
}

}  // namespace

Support LinearKernel::supports(const Problem& problem) const {
  const bool is_norm = folds_norms_ && problem.op == Op::k_linear_norm;
  if (problem.op != Op::k_linear && !is_norm) return Support::no("computes linear only");
  const DType dtype = problem.inputs[kX].dtype;
  if (dtype != DType::kF16 && dtype != DType::kBF16) return Support::no("computes f16 and bf16 only");
  if (problem.constant.size() <= kW || !problem.constant[kW]) return Support::no("the weight is not constant");
  if (!ir::all_const(problem.inputs[kW].shape)) return Support::no("the weight's shape is symbolic");
  for (const int64_t size : {depth(problem), columns(problem)}) {
    constexpr int64_t kMost = std::numeric_limits<int>::max() / 256;
    if (size % 8 != 0 || size == 0) {
      return Support::no(fmt::format("the weight's size {} is not a multiple of 8", size));
    }
    if (size > kMost) return Support::no(fmt::format("the weight's size {} is too large", size));
  }
  if (is_norm && problem.has(kXMoments) && problem.has(kResidualMoments)) {
    return Support::no("both x and the residual are to be normalised");
  }
  return Support::yes();
}

std::optional<TensorType> LinearKernel::packed_type(const Problem& problem, int index) const {
  if (index != kW) return std::nullopt;
  return TensorType{problem.inputs[kW].dtype, {ir::Dim(columns(problem)), ir::Dim(depth(problem))}};
}

// [K, N] -> [N, K].
Result<Tensor> LinearKernel::prepack(const Problem& problem, int, const Tensor& w) const {
  const int64_t k = w.shape()[0], n = w.shape()[1];
  std::byte* packed = nullptr;
  TENON_ASSIGN(Tensor result, Tensor::allocate(w.dtype(), {n, k}, &packed));
  ops::copy_view({w.dtype(), w.shape(), const_cast<std::byte*>(w.data())}, {.strides = {1, n}},
                 {w.dtype(), result.shape(), packed});
  if (of_tf32(problem)) round_to_tf32({reinterpret_cast<float*>(packed), static_cast<size_t>(n * k)});
  return result;
}

std::vector<std::string> LinearKernel::problem_defines(const Problem& problem) {
  return {fmt::format("ELEMENT={}", dtype_name(problem.inputs[kX].dtype)),
          fmt::format("COLUMNS={}", columns(problem)),
          fmt::format("DEPTH={}", depth(problem)),
          fmt::format("ACTIVATION={}", static_cast<int>(*ops::parse_activation(problem.attrs.text("activation")))),
          fmt::format("HAS_BIAS={}", problem.has(kBias) ? 1 : 0),
          fmt::format("HAS_RESIDUAL={}", problem.has(kResidual) ? 1 : 0)};
}

std::vector<std::string> LinearKernel::norm_defines(const Problem& problem) {
  const bool is_norm = problem.op == Op::k_linear_norm;
  return {fmt::format("VECTOR={}", is_norm ? "float" : "ELEMENT"),
          fmt::format("NORM_X={}", problem.has(kXMoments) ? 1 : 0),
          fmt::format("NORM_RESIDUAL={}", problem.has(kResidualMoments) ? 1 : 0),
          fmt::format("MOMENTS={}", gives_moments(problem) ? 1 : 0)};
}

Result<LinearOperands> linear_operands(const RunArgs& args, int64_t depth) {
  const TensorArg x = args.input(0);
  if (x.dim(-1) != depth) {
    return error(ErrorCode::kBadInput, "rows of {} elements do not fit weights of {} rows", x.dim(-1), depth);
  }
  const int64_t rows = x.numel() / depth;
  if (rows > std::numeric_limits<int>::max() / 2) return error(ErrorCode::kBadInput, "{} rows are too many", rows);
  return LinearOperands{.x = device_ptr(x),
                        .w = device_ptr(args.input(1)),
                        .bias = device_ptr(args.input(2)),
                        .residual = device_ptr(args.input(3)),
                        .y = device_ptr(args.output()),
                        .rows = static_cast<int>(rows)};
}

}  // namespace tenon::kernels::cuda
