// reduce_sum, reduce_mean, reduce_max, reduce_min and reduce_l2 over the last axes.
#include <cmath>

#include "kernels/cpu/kernels.h"

namespace tenon::kernels::cpu {
namespace {

std::optional<Reduction> reduction_of(Op op) {
  switch (op) {
    case Op::k_reduce_sum:
    case Op::k_reduce_mean:
      return Reduction::kSum;
    case Op::k_reduce_max:
      return Reduction::kMax;
    case Op::k_reduce_min:
      return Reduction::kMin;
    case Op::k_reduce_l2:
      return Reduction::kSumSquares;
    default:
      return std::nullopt;
  }
}

class ReduceLauncher final : public Launcher {
 public:
  ReduceLauncher(const Problem& problem, const VectorCode& code)
      : code_(code),
        op_(problem.op),
        reduction_(*reduction_of(problem.op)),
        axes_(static_cast<int>(problem.attrs.integers("axes").size())) {}

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(0);
    const int64_t rows = size_product(x.shape, 0, x.rank() - axes_),
                  columns = size_product(x.shape, x.rank() - axes_, x.rank());
    auto* y = args.output().as<float>();
    for_range(args.pool, rows, x.numel(), [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        const float r = code_.reduce(reduction_, x.as<const float>() + row * columns, columns);
        y[row] =
            op_ == Op::k_reduce_mean ? r / static_cast<float>(columns) : (op_ == Op::k_reduce_l2 ? std::sqrt(r) : r);
      }
    });
    return {};
  }

 private:
  const VectorCode& code_;
  Op op_;
  Reduction reduction_;
  int axes_;
};

class ReduceKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.reduce.f32"; }
  Support supports(const Problem& problem) const override {
    if (!reduction_of(problem.op)) return Support::no("computes sums, means, extremes and 2-norms only");
    if (Support s = all_f32(problem); !s) return s;
    const std::vector<int64_t>& axes = problem.attrs.integers("axes");
    for (size_t i = 0; i < axes.size(); ++i)
      if (axes[i] != problem.inputs[0].rank() - static_cast<int64_t>(axes.size() - i))
        return Support::no("not over the last axes");
    return Support::yes();
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<ReduceLauncher>(problem, code);
  }
};

}  // namespace

const CpuKernel& reduce_kernel() {
  static const ReduceKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
