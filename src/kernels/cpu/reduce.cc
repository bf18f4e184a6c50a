// reduce_sum, reduce_mean, reduce_max, reduce_min and reduce_l2 over the last axes; all but the last over others too
// that stand side by side.
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
        attrs_(problem.attrs),
        reduction_(*reduction_of(problem.op)),
        first_(static_cast<int>(problem.attrs.integers("axes").empty() ? problem.inputs[0].rank()
                                                                       : problem.attrs.integers("axes")[0])),
        end_(first_ + static_cast<int>(problem.attrs.integers("axes").size())) {}

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(0);
    const int64_t rows = size_product(x.shape, 0, first_), columns = size_product(x.shape, first_, end_);
    if (end_ < x.rank()) return columns == 0 ? reference_error(op_, attrs_, args) : reduce_rows(args, rows, columns);
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
  // x [outer, rows, columns] -> y [outer, columns]
  Status reduce_rows(const RunArgs& args, int64_t outer, int64_t rows) const {
    constexpr int64_t kColumns = 256;  // of a task
    const TensorArg x = args.input(0);
    const int64_t columns = size_product(x.shape, end_, x.rank()), parts = ceil_div(columns, kColumns);
    const Function join = op_ == Op::k_reduce_max   ? Function::kMax
                          : op_ == Op::k_reduce_min ? Function::kMin
                                                    : Function::kAdd;
    for_range(args.pool, outer * parts, x.numel(), [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t column = i % parts * kColumns, width = std::min(kColumns, columns - column);
        const float* from = x.as<const float>() + i / parts * rows * columns + column;
        float* y = args.output().as<float>() + i / parts * columns + column;
        std::copy_n(from, width, y);
        for (int64_t row = 1; row < rows; ++row) code_.apply(join, y, from + row * columns, nullptr, y, width);
        if (op_ == Op::k_reduce_mean) code_.scale(y, width, 1 / static_cast<float>(rows));
      }
    });
    return {};
  }

  const VectorCode& code_;
  Op op_;
  Attrs attrs_;
  Reduction reduction_;
  int first_, end_;  // the axes
};

class ReduceKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.reduce.f32"; }
  Support supports(const Problem& problem) const override {
    if (!reduction_of(problem.op)) return Support::no("computes sums, means, extremes and 2-norms only");
    if (Support s = all_f32(problem); !s) return s;
    const std::vector<int64_t>& axes = problem.attrs.integers("axes");
    for (size_t i = 1; i < axes.size(); ++i)
      if (axes[i] != axes[i - 1] + 1) return Support::no("its axes do not stand side by side");
    if (problem.op == Op::k_reduce_l2 && !axes.empty() && axes.back() + 1 != problem.inputs[0].rank())
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
