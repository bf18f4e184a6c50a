// What the CUDA kernels of `linear` share: which problems they take, the packed weight, the operands of a launch. Those
// of sm_90 compute `linear_norm` too, whose first inputs are the same.
#pragma once

#include "kernels/cuda/cuda_kernel.h"

namespace tenon::kernels::cuda {

// W [K, N] constant, K and N known and multiples of 8, f16 or bf16. The engine stores W transposed, [N, K] of the same
// dtype, rounded to tf32 where the plan allows such factors, for every kernel here, so that one stored weight serves every
// generation of GPUs.
class LinearKernel : public CudaKernel {
 public:
  explicit LinearKernel(bool folds_norms = false) : folds_norms_(folds_norms) {}
  Support supports(const Problem& problem) const override;
  std::optional<TensorType> packed_type(const Problem& problem, int index) const override;
  Result<Tensor> prepack(const Problem& problem, int index, const Tensor& w) const override;
  std::string_view packing(const Problem& problem) const override { return of_tf32(problem) ? "cuda.linear of tf32" : "cuda.linear"; }
  bool in_place(const Problem&, int index) const override { return index == kResidual; }
  std::vector<Config> library_configs(const Problem& problem, std::string_view library) const override;  // linear_cublaslt.cc

 protected:
  enum Input { kX, kW, kBias, kResidual, kXMoments, kResidualMoments, kGamma };

  static int64_t columns(const Problem& problem) { return problem.inputs[kW].shape[1].value(); }
  static int64_t depth(const Problem& problem) { return problem.inputs[kW].shape[0].value(); }
  static bool of_tf32(const Problem& problem) { return problem.op == Op::k_linear && problem.attrs.text("factors") == "tf32"; }
  // ELEMENT, COLUMNS, DEPTH, ACTIVATION, HAS_BIAS, HAS_RESIDUAL.
  static std::vector<std::string> problem_defines(const Problem& problem);
  // VECTOR, NORM_X, NORM_RESIDUAL, MOMENTS: of kernels that fold norms.
  static std::vector<std::string> norm_defines(const Problem& problem);
  static bool gives_moments(const Problem& problem) { return problem.outputs.size() > 1; }

 private:
  bool folds_norms_;
};

struct LinearOperands {
  DevicePtr x, w, bias, residual, y;  // 0: not given
  int rows;
};
// Errors: bad-input when x's rows do not fit W, or are more than a kernel can count.
Result<LinearOperands> linear_operands(const RunArgs& args, int64_t depth);

// The configs that call cuBLASLt (linear_cublaslt.cc). Errors: no-device where it cannot be opened, internal.
bool is_cublaslt(const Config& config);
Result<std::unique_ptr<Launcher>> load_cublaslt(const Problem& problem, const Config& config, const Device& device);

}  // namespace tenon::kernels::cuda
