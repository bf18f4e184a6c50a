// linear with factors of 8 or 16 bits: y = activation(x W + bias) + residual, where x and a constant W are rounded
// before they are multiplied (the attribute `factors`).
#include "ir/dim.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/narrow_gemm.h"

namespace tenon::kernels::cpu {
namespace {

class NarrowLauncher final : public Launcher {
 public:
  NarrowLauncher(const Problem& problem, const VectorCode& code, Factors factors)
      : code_(code),
        factors_(factors),
        activation_(activation_of(problem.attrs)),
        k_(problem.inputs[kW].shape[0].value()),
        widens_(factors == Factors::kBf16 && code.bf16.tile == nullptr) {}

  size_t workspace(const RunArgs& args, int threads) const override {
    const TensorArg& x = args.inputs[kX];
    const int64_t rows = size_product(x.shape, 0, x.rank() - 1);
    return widens_ ? gemm_workspace(code_, rows, k_, threads, true)
                   : narrow_gemm_workspace(code_, factors_, rows, k_, threads);
  }

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(kX), y = args.output();
    const int64_t n = y.dim(-1), rows = size_product(x.shape, 0, x.rank() - 1);
    if (x.dim(-1) != k_)
      return error(ErrorCode::kBadInput, "rows of {} elements do not fit weights of {} rows", x.dim(-1), k_);
    const Epilogue epilogue{.bias = args.input(kBias).as<const float>(),
                            .residual = args.input(kResidual).as<const float>(),
                            .residual_stride = n,
                            .activation = activation_};
    if (widens_) {
      gemm(code_,
           {.x = x.as<const float>(),
            .x_stride = k_,
            .w = args.input(kW).data,
            .w_is_bf16 = true,
            .y = y.as<float>(),
            .y_stride = n,
            .rows = rows,
            .k = k_,
            .columns = n,
            .epilogue = epilogue},
           args.workspace, args.pool);
    } else {
      narrow_gemm(code_,
                  {.factors = factors_,
                   .x = x.as<const float>(),
                   .w = args.input(kW).as<const std::byte>(),
                   .y = y.as<float>(),
                   .rows = rows,
                   .k = k_,
                   .columns = n,
                   .epilogue = epilogue},
                  args.workspace, args.pool);
    }
    return {};
  }

 private:
  const VectorCode& code_;
  Factors factors_;
  Activation activation_;
  int64_t k_;
  bool widens_;  // bf16 weights, for an instruction set without such products: x stays f32
};

class NarrowKernel final : public CpuKernel {
 public:
  NarrowKernel(Factors factors, std::string_view id, std::string_view name) : factors_(factors), id_(id), name_(name) {}
  std::string_view id() const override { return id_; }

  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_linear) return Support::no("computes linear only");
    if (Support s = all_f32(problem); !s) return s;
    if (problem.attrs.text("factors") != name_)
      return Support::no(fmt::format("factors of {} are not asked for", name_));
    if (!is_constant(problem, kW)) return Support::no("the weight is not constant");
    if (!ir::all_const(problem.inputs[kW].shape)) return Support::no("the weight's shape is symbolic");
    if (const int64_t k = problem.inputs[kW].shape[0].value(); k > ops::kMaxInt8Depth && factors_ == Factors::kInt8)
      return Support::no(fmt::format("sums of {} products may leave 32 bits", k));
    return Support::yes();
  }

  std::vector<Config> configs(const Problem&) const override {
    return {{.text = "", .numerics = factors_ == Factors::kInt8 ? "exact" : "over-k", .cost = 0}};
  }

  std::optional<TensorType> packed_type(const Problem& problem, int index) const override {
    if (index != kW) return std::nullopt;
    const ir::Shape& shape = problem.inputs[kW].shape;
    const int64_t bytes = packed_bytes(factors_, shape[0].value(), shape[1].value());
    return TensorType{dtype(), {ir::Dim(bytes / bytes_of(factors_))}};
  }

  Result<Tensor> prepack(const Problem&, int, const Tensor& w) const override {
    const int64_t k = w.shape()[0], n = w.shape()[1];
    std::byte* bytes = nullptr;
    TENON_ASSIGN(Tensor packed, Tensor::allocate(dtype(), {packed_bytes(factors_, k, n) / bytes_of(factors_)}, &bytes));
    pack_narrow(factors_, w.as<float>(), k, n, bytes);
    return packed;
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<NarrowLauncher>(problem, code, factors_);
  }

 private:
  DType dtype() const { return factors_ == Factors::kInt8 ? DType::kI8 : DType::kBF16; }

  Factors factors_;
  std::string_view id_, name_;
};

}  // namespace

const CpuKernel& linear_int8_kernel() {
  static const NarrowKernel kernel(Factors::kInt8, "cpu.linear.int8", "int8");
  return kernel;
}

const CpuKernel& linear_bf16_kernel() {
  static const NarrowKernel kernel(Factors::kBf16, "cpu.linear.bf16", "bf16");
  return kernel;
}

}  // namespace tenon::kernels::cpu
