// cast between f32 and bf16; other pairs of types are left to the reference.
#include "kernels/cpu/kernels.h"

namespace tenon::kernels::cpu {
namespace {

class CastLauncher final : public Launcher {
 public:
  explicit CastLauncher(const VectorCode& code) : code_(code) {}
  Status launch(const RunArgs& args) const override {
    const TensorArg x = args.input(0), y = args.output();
    constexpr int64_t kStep = 1024;  // elements
    const int64_t count = x.numel();
    for_range(args.pool, ceil_div(count, kStep), count, [&](int64_t begin, int64_t end, int) {
      const int64_t first = begin * kStep, size = std::min(count, end * kStep) - first;
      if (y.dtype == DType::kBF16)
        code_.round(x.as<const float>() + first, size, y.as<uint16_t>() + first);
      else
        code_.widen(x.as<const uint16_t>() + first, size, y.as<float>() + first);
    });
    return {};
  }

 private:
  const VectorCode& code_;
};

class CastKernel final : public CpuKernel {
 public:
  std::string_view id() const override { return "cpu.cast.bf16"; }
  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_cast) return Support::no("computes cast only");
    const DType from = problem.inputs[0].dtype, to = problem.outputs[0].dtype;
    if ((from == DType::kF32 && to == DType::kBF16) || (from == DType::kBF16 && to == DType::kF32))
      return Support::yes();
    return Support::no(fmt::format("from {} to {}", dtype_name(from), dtype_name(to)));
  }

 protected:
  std::unique_ptr<Launcher> make_launcher(const Problem&, const Config&, const VectorCode& code) const override {
    return std::make_unique<CastLauncher>(code);
  }
};

}  // namespace

const CpuKernel& cast_kernel() {
  static const CastKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cpu
