// linear with few columns (labels, answer spans), any number of them; the device side is linear_narrow.cu.
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/linear.h"

namespace tenon::kernels::cuda {
namespace {

class LinearNarrow final : public LinearKernel {
 public:
  std::string_view id() const override { return "cuda.linear.narrow"; }

  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_linear) return Support::no("computes linear only");
    const DType dtype = problem.inputs[kX].dtype;
    if (dtype != DType::kF16 && dtype != DType::kBF16) return Support::no("computes f16 and bf16 only");
    if (problem.constant.size() <= kW || !problem.constant[kW]) return Support::no("the weight is not constant");
    if (!ir::all_const(problem.inputs[kW].shape)) return Support::no("the weight's shape is symbolic");
    if (columns(problem) < 1 || columns(problem) > kMostColumns) return Support::no(fmt::format("has at most {} columns", kMostColumns));
    if (depth(problem) < 8 || depth(problem) % 8 != 0 || depth(problem) > kMostDepth) return Support::no("the depth is not a multiple of 8");
    return Support::yes();
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config&, int) const override {
    return DeviceSource{.file = "linear_narrow.cu", .entry = "linear_narrow", .defines = problem_defines(problem)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config&, const Device& device, Function function) const override {
    return std::unique_ptr<Launcher>(new NarrowLauncher(device, function, depth(problem)));
  }

 private:
  static constexpr int64_t kMostColumns = 32;
  static constexpr int64_t kMostDepth = 1 << 20;

  class NarrowLauncher final : public Launcher {
   public:
    NarrowLauncher(const Device& device, Function function, int64_t depth) : device_(device), function_(function), depth_(depth) {}
    Status launch(const RunArgs& args) const override {
      TENON_ASSIGN(LinearOperands o, linear_operands(args, depth_));
      if (o.rows == 0) return {};
      constexpr unsigned kRowsOfBlock = 8;
      void* parameters[] = {&o.x, &o.w, &o.bias, &o.residual, &o.y, &o.rows};
      const Launch launch = {.grid = {(static_cast<unsigned>(o.rows) + kRowsOfBlock - 1) / kRowsOfBlock, 1, 1}, .block = {32 * kRowsOfBlock, 1, 1}};
      return launch_kernel(device_, function_, args.stream, launch, parameters);
    }

   private:
    const Device& device_;
    Function function_;
    int64_t depth_;
  };
};

}  // namespace

const Kernel& linear_narrow_kernel() {
  static const LinearNarrow kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
