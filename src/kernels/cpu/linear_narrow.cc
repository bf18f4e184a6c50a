// linear with factors of 8 or 16 bits: y = activation(x W + bias) + residual, where x and a constant W are rounded
// before they are multiplied (the attribute `factors`), or all is bf16.
#include "ir/dim.h"
#include "kernels/cpu/gemm.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/narrow_gemm.h"
#include "ops/quantize_rows.h"

namespace tenon::kernels::cpu {
namespace {

int64_t rows_of(const RunArgs& args) {
  const TensorArg& x = args.inputs[kX];
  return size_product(x.shape, 0, x.rank() - 1);
}

Epilogue epilogue_of(const RunArgs& args, Activation activation) {
  const TensorArg y = args.output();
  return {.bias = args.input(kBias).data,
          .residual = args.input(kResidual).data,
          .residual_stride = y.dim(-1),
          .activation = activation,
          .bf16 = y.dtype == DType::kBF16};
}

Status check_depth(int64_t k, int64_t expected) {
  if (k == expected) return {};
  return error(ErrorCode::kBadInput, "rows of {} elements do not fit weights of {} rows", k, expected);
}

// A product of bf16 for an instruction set that has none: weights and, where they are bf16, rows are widened.
class WideningLauncher final : public Launcher {
 public:
  WideningLauncher(const Problem& problem, const VectorCode& code, const Blocking& blocking)
      : code_(code),
        blocking_({.rows = blocking.rows, .depth = 0, .split = blocking.split}),
        activation_(activation_of(problem.attrs)),
        rows_are_bf16_(problem.inputs[kX].dtype == DType::kBF16),
        k_(problem.inputs[kW].shape[0].value()) {}

  size_t workspace(const RunArgs& args, int threads) const override {
    const int64_t rows = rows_of(args), n = args.outputs[0].dim(-1);
    const size_t product = gemm_workspace(code_, rows, k_, threads, true, blocking_);
    if (!rows_are_bf16_) return product;
    const int64_t chunk = std::min(rows, kChunkRows);
    return product + static_cast<size_t>(whole_lines(chunk * k_) + whole_lines(chunk * n)) * sizeof(float);
  }

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(kX), y = args.output();
    const int64_t rows = rows_of(args), n = y.dim(-1);
    TENON_TRY(check_depth(x.dim(-1), k_));
    const Epilogue epilogue = epilogue_of(args, activation_);
    Gemm g{.x = x.as<const float>(),
           .x_stride = k_,
           .w = args.input(kW).data,
           .w_is_bf16 = true,
           .y = y.as<float>(),
           .y_stride = n,
           .rows = rows,
           .k = k_,
           .columns = n,
           .epilogue = epilogue,
           .blocking = blocking_};
    if (!rows_are_bf16_) {
      gemm(code_, g, args.workspace, args.pool);
      return {};
    }
    auto* wide_x = static_cast<float*>(args.workspace);
    float* sums = wide_x + whole_lines(std::min(rows, kChunkRows) * k_);
    float* scratch = sums + whole_lines(std::min(rows, kChunkRows) * n);
    g.x = wide_x;
    g.y = sums;
    g.epilogue = {};
    for (int64_t first = 0; first < rows; first += kChunkRows) {
      g.rows = std::min(kChunkRows, rows - first);
      for_range(args.pool, g.rows, g.rows * k_, [&](int64_t begin, int64_t end, int) {
        code_.widen(x.as<const uint16_t>() + (first + begin) * k_, (end - begin) * k_, wide_x + begin * k_);
      });
      gemm(code_, g, scratch, args.pool);
      for_range(args.pool, g.rows, g.rows * n, [&](int64_t begin, int64_t end, int) {
        code_.epilogue(sums + begin * n, n, y.as<uint16_t>() + (first + begin) * n, n, static_cast<int>(end - begin), n,
                       epilogue.at(first + begin, 0));
      });
    }
    return {};
  }

 private:
  static constexpr int64_t kChunkRows = 512;

  const VectorCode& code_;
  Blocking blocking_;
  Activation activation_;
  bool rows_are_bf16_;
  int64_t k_;
};

class NarrowLauncher final : public Launcher {
 public:
  NarrowLauncher(const Problem& problem, const VectorCode& code, Factors factors, const Blocking& blocking)
      : code_(code),
        blocking_(blocking),
        factors_(factors),
        activation_(activation_of(problem.attrs)),
        x_scale_(ops::given_scale(problem.attrs)),
        rows_are_bf16_(problem.inputs[kX].dtype == DType::kBF16),
        k_(problem.inputs[kW].shape[0].value()) {}

  size_t workspace(const RunArgs& args, int threads) const override {
    return narrow_gemm_workspace(code_, factors_, rows_are_bf16_, rows_of(args), k_, threads);
  }

  Status launch(const RunArgs& args) const override {
    TENON_TRY(check_depth(args.input(kX).dim(-1), k_));
    narrow_gemm(code_,
                {.factors = factors_,
                 .x = args.input(kX).data,
                 .x_scale = x_scale_,
                 .w = args.input(kW).as<const std::byte>(),
                 .y = args.output().data,
                 .rows = rows_of(args),
                 .k = k_,
                 .columns = args.output().dim(-1),
                 .epilogue = epilogue_of(args, activation_),
                 .blocking = blocking_},
                args.workspace, args.pool);
    return {};
  }

 private:
  const VectorCode& code_;
  Blocking blocking_;
  Factors factors_;
  Activation activation_;
  ops::RowScale x_scale_;
  bool rows_are_bf16_;
  int64_t k_;
};

class NarrowKernel final : public CpuKernel {
 public:
  NarrowKernel(Factors factors, std::string_view id, std::string_view name) : factors_(factors), id_(id), name_(name) {}
  std::string_view id() const override { return id_; }

  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_linear) return Support::no("computes linear only");
    const bool integers = is_integer(factors_), rows_are_bf16 = problem.inputs[kX].dtype == DType::kBF16;
    if ((integers || !rows_are_bf16) && problem.attrs.text("factors") != name_)
      return Support::no(fmt::format("factors of {} are not asked for", name_));
    if (!rows_are_bf16 || !integers) {
      if (Support s = all_of(problem, rows_are_bf16 ? DType::kBF16 : DType::kF32); !s) return s;
    }
    if (!is_constant(problem, kW)) return Support::no("the weight is not constant");
    if (!ir::all_const(problem.inputs[kW].shape)) return Support::no("the weight's shape is symbolic");
    if (const int64_t k = problem.inputs[kW].shape[0].value(); k > ops::kMaxInt8Depth && integers)
      return Support::no(fmt::format("sums of {} products may leave 32 bits", k));
    return Support::yes();
  }

  std::vector<Config> configs(const Problem& problem) const override {
    const auto cost = [this](const VectorCode& code, int64_t rows, int64_t k, int64_t columns, int threads,
                             const Blocking& b) {
      if (factors_ == Factors::kBf16 && code.bf16.tile == nullptr) return gemm_cost(code, rows, k, columns, threads, b);
      return narrow_gemm_cost(code, factors_, rows, k, columns, threads, b);
    };
    return linear_configs(problem, narrow_gemm_blockings(), is_integer(factors_) ? "exact" : "over-k", cost);
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
    if (w.dtype() == DType::kF32) {
      pack_narrow(factors_, w.as<float>(), k, n, bytes);
      return packed;
    }
    std::byte* wide = nullptr;
    TENON_ASSIGN(const Tensor floats, Tensor::allocate(DType::kF32, {k, n}, &wide));
    for (int64_t i = 0; i < k * n; ++i) reinterpret_cast<float*>(wide)[i] = static_cast<float>(w.as<BF16>()[i]);
    pack_narrow(factors_, floats.as<float>(), k, n, bytes);
    return packed;
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config& config,
                                          const VectorCode& code) const override {
    const Blocking blocking = blocking_of(config);
    if (factors_ == Factors::kBf16 && code.bf16.tile == nullptr)
      return std::make_unique<WideningLauncher>(problem, code, blocking);
    return std::make_unique<NarrowLauncher>(problem, code, factors_, blocking);
  }

 private:
  DType dtype() const { return is_integer(factors_) ? DType::kI8 : DType::kBF16; }

  Factors factors_;
  std::string_view id_, name_;
};

}  // namespace

const CpuKernel& linear_int8_kernel() {
  static const NarrowKernel kernel(Factors::kInt8, "cpu.linear.int8", "int8");
  return kernel;
}

const CpuKernel& linear_int8_quads_kernel() {
  static const NarrowKernel kernel(Factors::kInt8Quads, "cpu.linear.int8_quads", "int8_quads");
  return kernel;
}

const CpuKernel& linear_bf16_kernel() {
  static const NarrowKernel kernel(Factors::kBf16, "cpu.linear.bf16", "bf16");
  return kernel;
}

}  // namespace tenon::kernels::cpu
