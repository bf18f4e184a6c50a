// layer_norm and rms_norm: norm.cu.
#include "kernels/cuda/device/row_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {
namespace {

class NormKernel final : public CudaKernel {
 public:
  explicit NormKernel(bool rms) : rms_(rms), residual_(rms ? 2 : 3) {}

  std::string_view id() const override { return rms_ ? "cuda.rms_norm" : "cuda.layer_norm"; }

  Support supports(const Problem& p) const override {
    if (p.op != (rms_ ? Op::k_rms_norm : Op::k_layer_norm)) return Support::no("another op");
    if (!is_row_dtype(p.inputs[0].dtype)) return Support::no(fmt::format("x is {}", dtype_name(p.inputs[0].dtype)));
    const auto width = width_of(p);
    return width.ok() ? Support::yes() : Support::no(width.status().message());
  }

  // A lane reads all that it replaces before it writes.
  bool in_place(const Problem&, int index) const override { return index == 0 || index == residual_; }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    std::vector<std::string> defines = layout_of(p).defines(p.inputs[0].dtype);
    const auto is_constant = [&](int i) { return p.constant[static_cast<size_t>(i)]; };
    const auto weight = [&](int i) { return !p.has(i) ? 0 : (is_constant(i) ? 2 : 1); };
    defines.push_back(fmt::format("RMS={}", rms_ ? 1 : 0));
    defines.push_back(fmt::format("GAMMA={}", weight(1)));
    defines.push_back(fmt::format("BETA={}", rms_ ? 0 : weight(2)));
    defines.push_back(fmt::format("RESIDUAL={}", p.has(residual_) ? 1 : 0));
    return DeviceSource{"norm.cu", "norm_rows", std::move(defines)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    const RowLayout layout = layout_of(p);
    const auto epsilon = static_cast<float>(p.attrs.number("epsilon"));
    return make_launcher([this, layout, epsilon, &device, function](const RunArgs& args) -> Status {
      const int64_t rows = args.output().numel() / layout.width;
      if (rows == 0) return {};
      return launch_with(device, function, args, launch_rows(rows, layout.lanes, device),
                         NormArgs{.x = args.input(0).data,
                                  .gamma = args.input(1).data,
                                  .beta = rms_ ? nullptr : args.input(2).data,
                                  .residual = args.input(residual_).data,
                                  .y = args.output().data,
                                  .rows = static_cast<int>(rows),
                                  .epsilon = epsilon});
    });
  }

 private:
  static Result<int64_t> width_of(const Problem& p) {
    return row_width(p.inputs[0].shape, axis_from(p.attrs.integer("axis"), p.inputs[0].rank()));
  }
  static RowLayout layout_of(const Problem& p) { return row_layout(*width_of(p), p.inputs[0].dtype); }

  const bool rms_;
  const int residual_;  // its input
};

}  // namespace

const Kernel& layer_norm_kernel() {
  static const NormKernel kernel(false);
  return kernel;
}

const Kernel& rms_norm_kernel() {
  static const NormKernel kernel(true);
  return kernel;
}

}  // namespace tenon::kernels::cuda
