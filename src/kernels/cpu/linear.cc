// linear: y = activation(x W + bias) + residual, on packed panels of W (kernels/cpu/gemm.h).
//
// Constant weights are packed when the engine is built; others at every launch, into the workspace.
#include "kernels/cpu/linear.h"

#include "ir/dim.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernels.h"

namespace tenon::kernels::cpu {

std::vector<Config> linear_configs(const Problem& problem, const std::vector<Blocking>& choices,
                                   std::string_view numerics, const BlockingCost& cost) {
  const ir::Shape &x = problem.inputs[kX].shape, &w = problem.inputs[kW].shape;
  int64_t rows = 1;
  for (size_t axis = 0; axis + 1 < x.size(); ++axis) rows = rows > 0 && x[axis].is_const() ? rows * x[axis].value() : 0;
  return blocking_configs(choices, numerics, [&](const Blocking& b) {
    if (rows == 0) return 0.0;
    return cost(vector_code(chosen_isa()), rows, w[0].value(), w[1].value(), ThreadPool::available(), b);
  });
}

namespace {

class LinearLauncher final : public Launcher {
 public:
  LinearLauncher(const Problem& problem, const VectorCode& code, const Blocking& blocking)
      : code_(code), blocking_(blocking), activation_(activation_of(problem.attrs)), packed_(is_constant(problem, kW)) {
    if (packed_) k_ = problem.inputs[kW].shape[0].value();
  }

  size_t workspace(const RunArgs& args, int threads) const override {
    const TensorArg& x = args.inputs[kX];
    const int64_t k = x.dim(-1), rows = size_product(x.shape, 0, x.rank() - 1);
    return gemm_workspace(code_, rows, k, threads, false, blocking_) +
           (packed_ ? 0 : static_cast<size_t>(packed_size(k, args.output().dim(-1))) * sizeof(float));
  }

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(kX), y = args.output();
    const int64_t k = x.dim(-1), n = y.dim(-1);
    if (k != (packed_ ? k_ : args.input(kW).dim(0))) {
      return error(ErrorCode::kBadInput, "rows of {} elements do not fit weights of {} rows", k,
                   packed_ ? k_ : args.input(kW).dim(0));
    }
    const float* w = args.input(kW).as<const float>();
    auto* scratch = static_cast<float*>(args.workspace);
    if (!packed_) {
      float* panels = scratch;
      for_range(args.pool, ceil_div(n, kPanel), k * n,
                [&](int64_t begin, int64_t end, int) { pack_panels(w, n, 1, k, n, panels, begin, end); });
      w = panels;
      scratch += packed_size(k, n);
    }
    gemm(code_,
         {.x = x.as<const float>(),
          .x_stride = k,
          .w = w,
          .y = y.as<float>(),
          .y_stride = n,
          .rows = size_product(x.shape, 0, x.rank() - 1),
          .k = k,
          .columns = n,
          .epilogue = {.bias = args.input(kBias).as<const float>(),
                       .residual = args.input(kResidual).as<const float>(),
                       .residual_stride = n,
                       .activation = activation_},
          .blocking = blocking_},
         scratch, args.pool);
    return {};
  }

 private:
  const VectorCode& code_;
  Blocking blocking_;
  Activation activation_;
  bool packed_;
  int64_t k_ = 0;
};

class LinearKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.linear.f32"; }

  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_linear) return Support::no("computes linear only");
    if (Support s = all_f32(problem); !s) return s;
    if (ops::are_integers(problem.attrs.text("factors"))) return Support::no("factors of 8 bits are asked for");
    if (is_constant(problem, kW) && !ir::all_const(problem.inputs[kW].shape))
      return Support::no("the weight's shape is symbolic");
    return Support::yes();
  }

  std::vector<Config> configs(const Problem& problem) const override {
    if (!is_constant(problem, kW)) return {{.text = "", .numerics = "fma-over-k", .cost = 0}};
    return linear_configs(problem, gemm_blockings(problem.inputs[kW].shape[0].value()), "fma-over-k", gemm_cost);
  }

  std::optional<TensorType> packed_type(const Problem& problem, int index) const override {
    if (index != kW || !is_constant(problem, kW)) return std::nullopt;
    const ir::Shape& shape = problem.inputs[kW].shape;
    return TensorType{DType::kF32, {ir::Dim(packed_size(shape[0].value(), shape[1].value()))}};
  }

  Result<Tensor> prepack(const Problem&, int, const Tensor& w) const override {
    const int64_t k = w.shape()[0], n = w.shape()[1];
    std::byte* bytes = nullptr;
    TENON_ASSIGN(Tensor packed, Tensor::allocate(DType::kF32, {packed_size(k, n)}, &bytes));
    pack_panels(w.as<float>(), n, 1, k, n, reinterpret_cast<float*>(bytes), 0, ceil_div(n, kPanel));
    return packed;
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config& config,
                                          const VectorCode& code) const override {
    return std::make_unique<LinearLauncher>(problem, code, blocking_of(config));
  }
};

}  // namespace

const CpuKernel& linear_kernel() {
  static const LinearKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
