// linear with few columns (labels, answer spans), any number of them; the device side is linear_narrow.cu.
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/linear.h"

namespace tenon::kernels::cuda {
namespace {

class LinearNarrow final : public LinearKernel {
 public:
  std::string_view id() const override { return "cuda.linear.narrow"; }

  Support supports(const Problem& problem) const override {
    const bool is_norm = problem.op == Op::k_linear_norm;
    if (problem.op != Op::k_linear && !is_norm) return Support::no("computes linear only");
    if (is_norm && (problem.has(kResidualMoments) || gives_moments(problem)))
      return Support::no("normalises x only and gives no moments");
    const DType dtype = problem.inputs[kX].dtype;
    if (dtype != DType::kF16 && dtype != DType::kBF16) return Support::no("computes f16 and bf16 only");
    if (problem.constant.size() <= kW || !problem.constant[kW]) return Support::no("the weight is not constant");
    if (!ir::all_const(problem.inputs[kW].shape)) return Support::no("the weight's shape is symbolic");
    if (columns(problem) < 1 || columns(problem) > kMostColumns) return Support::no(fmt::format("has at most {} columns", kMostColumns));
    if (depth(problem) < 8 || depth(problem) % 8 != 0 || depth(problem) > kMostDepth) return Support::no("the depth is not a multiple of 8");
    return Support::yes();
  }

  std::vector<Config> library_configs(const Problem&, std::string_view) const override { return {}; }

  std::optional<DeviceSource> code(const Problem& problem, const Config&, int) const override {
    DeviceSource source = {.file = "linear_narrow.cu", .entry = "linear_narrow", .defines = problem_defines(problem)};
    for (std::string& text : norm_defines(problem)) source.defines.push_back(std::move(text));
    return source;
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config&, const Device& device, Function function) const override {
    return std::unique_ptr<Launcher>(new NarrowLauncher(problem, device, function));
  }

 private:
  static constexpr int64_t kMostColumns = 32;
  static constexpr int64_t kMostDepth = 1 << 20;

  class NarrowLauncher final : public Launcher {
   public:
    NarrowLauncher(const Problem& problem, const Device& device, Function function)
        : device_(device),
          function_(function),
          depth_(depth(problem)),
          epsilon_(problem.op == Op::k_linear_norm ? static_cast<float>(problem.attrs.number("epsilon")) : 0) {}
    Status launch(const RunArgs& args) const override {
      TENON_ASSIGN(LinearOperands o, linear_operands(args, depth_));
      if (o.rows == 0) return {};
      constexpr unsigned kRowsOfBlock = 8;
      const void* x_moments = args.input(kXMoments).data;
      float epsilon = epsilon_;
      void* parameters[] = {&o.x, &o.w, &o.bias, &o.residual, &x_moments, &o.y, &o.rows, &epsilon};
      const Launch launch = {.grid = {(static_cast<unsigned>(o.rows) + kRowsOfBlock - 1) / kRowsOfBlock, 1, 1}, .block = {32 * kRowsOfBlock, 1, 1}};
      return launch_kernel(device_, function_, args.stream, launch, parameters);
    }

   private:
    const Device& device_;
    Function function_;
    int64_t depth_;
    float epsilon_;
  };
};

}  // namespace

const Kernel& linear_narrow_kernel() {
  static const LinearNarrow kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
