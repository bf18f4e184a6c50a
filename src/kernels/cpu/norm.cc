// layer_norm, rms_norm and softmax: one row at a time, rows shared among threads.
#include "kernels/cpu/kernels.h"

namespace tenon::kernels::cpu {
namespace {

struct Rows {
  int64_t count = 0, columns = 0;
};
// Rows over the axes [axis, rank) of x.
Rows rows_of(const TensorArg& x, int axis) {
  return {size_product(x.shape, 0, axis), size_product(x.shape, axis, x.rank())};
}

using NormFunction = void (*VectorCode::*)(const NormRow&);

// Inputs: x, gamma, beta (layer_norm only), residual.
class NormLauncher final : public Launcher {
 public:
  NormLauncher(const Problem& problem, const VectorCode& code, NormFunction function, bool has_beta)
      : attrs_(problem.attrs),
        code_(code),
        function_(code.*function),
        has_beta_(has_beta),
        bf16_(problem.outputs[0].dtype == DType::kBF16),
        epsilon_(static_cast<float>(problem.attrs.number("epsilon"))) {}

  size_t workspace(const RunArgs& args, int threads) const override {
    if (!bf16_) return 0;
    return static_cast<size_t>(kWideRows * columns_of(args) * threads) * sizeof(float);
  }

  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(0);
    const Rows rows = rows_of(x, axis_of(attrs_, x.rank()));
    const int64_t wide = columns_of(args);
    for_range(args.pool, rows.count, x.numel(), [&](int64_t begin, int64_t end, int thread) {
      float* scratch = static_cast<float*>(args.workspace) + thread * kWideRows * wide;
      const TensorArg residual = args.input(has_beta_ ? 3 : 2);
      NormRow row{.gamma = args.input(1).as<const float>(),
                  .beta = has_beta_ ? args.input(2).as<const float>() : nullptr,
                  .columns = rows.columns,
                  .epsilon = epsilon_};
      if (bf16_) {
        row.gamma = widened(args.input(1), 0, rows.columns, scratch + 2 * wide);
        row.beta = has_beta_ ? widened(args.input(2), 0, rows.columns, scratch + 3 * wide) : nullptr;
      }
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i * rows.columns;
        if (bf16_) {
          row.x = widened(x, at, rows.columns, scratch);
          row.residual = widened(residual, at, rows.columns, scratch + wide);
          row.y = scratch;
        } else {
          row.x = x.as<const float>() + at;
          row.residual = residual ? residual.as<const float>() + at : nullptr;
          row.y = args.output().as<float>() + at;
        }
        function_(row);
        if (bf16_) code_.round_sums(row.y, rows.columns, 1.0f, args.output().as<uint16_t>() + at);
      }
    });
    return {};
  }

 private:
  static constexpr int64_t kWideRows = 4;  // of bf16 as f32: x, which becomes y, the residual, gamma and beta

  int64_t columns_of(const RunArgs& args) const {
    const TensorArg& x = args.inputs[0];
    return whole_lines(rows_of(x, axis_of(attrs_, x.rank())).columns);
  }
  // Elements [at, at + count); null stays null.
  const float* widened(const TensorArg& x, int64_t at, int64_t count, float* room) const {
    if (!x) return nullptr;
    code_.widen(x.as<const uint16_t>() + at, count, room);
    return room;
  }

  Attrs attrs_;
  const VectorCode& code_;
  void (*function_)(const NormRow&);
  bool has_beta_, bf16_;
  float epsilon_;
};

class NormKernel final : public CpuKernel {
 public:
  NormKernel(Op op, DType type, std::string_view id, NormFunction function, bool has_beta)
      : op_(op), type_(type), id_(id), function_(function), has_beta_(has_beta) {}
  std::string_view id() const override { return id_; }
  Support supports(const Problem& problem) const override {
    if (problem.op != op_) return Support::no(fmt::format("computes {} only", ir::op_name(op_)));
    return all_of(problem, type_);
  }
  bool in_place(const Problem&, int index) const override { return index == 0 || index == (has_beta_ ? 3 : 2); }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem& problem, const Config&,
                                          const VectorCode& code) const override {
    return std::make_unique<NormLauncher>(problem, code, function_, has_beta_);
  }

 private:
  Op op_;
  DType type_;
  std::string_view id_;
  NormFunction function_;
  bool has_beta_;
};

class SoftmaxLauncher final : public Launcher {
 public:
  explicit SoftmaxLauncher(const VectorCode& code) : code_(code) {}
  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(0);
    const Rows rows = rows_of(x, x.rank() - 1);
    for_range(args.pool, rows.count, x.numel() * 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i)
        code_.softmax(x.as<const float>() + i * rows.columns, args.output().as<float>() + i * rows.columns,
                      rows.columns);
    });
    return {};
  }

 private:
  const VectorCode& code_;
};

class SoftmaxKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.softmax.f32"; }
  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_softmax) return Support::no("computes softmax only");
    if (Support s = all_f32(problem); !s) return s;
    const int rank = problem.inputs[0].rank();
    if (axis_of(problem.attrs, rank) != rank - 1) return Support::no("softmax is not over the last axis");
    return Support::yes();
  }
  bool in_place(const Problem&, int index) const override { return index == 0; }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem&, const Config&, const VectorCode& code) const override {
    return std::make_unique<SoftmaxLauncher>(code);
  }
};

}  // namespace

const CpuKernel& layer_norm_kernel() {
  static const NormKernel kernel(Op::k_layer_norm, DType::kF32, "cpu.layer_norm.f32", &VectorCode::layer_norm, true);
  return kernel;
}

const CpuKernel& layer_norm_bf16_kernel() {
  static const NormKernel kernel(Op::k_layer_norm, DType::kBF16, "cpu.layer_norm.bf16", &VectorCode::layer_norm, true);
  return kernel;
}

const CpuKernel& rms_norm_kernel() {
  static const NormKernel kernel(Op::k_rms_norm, DType::kF32, "cpu.rms_norm.f32", &VectorCode::rms_norm, false);
  return kernel;
}

const CpuKernel& rms_norm_bf16_kernel() {
  static const NormKernel kernel(Op::k_rms_norm, DType::kBF16, "cpu.rms_norm.bf16", &VectorCode::rms_norm, false);
  return kernel;
}

const CpuKernel& softmax_kernel() {
  static const SoftmaxKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
