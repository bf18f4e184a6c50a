// cumsum: cumsum.cu.
#include "kernels/cuda/device/grid_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {
namespace {

class CumsumKernel final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.cumsum"; }

  Support supports(const Problem& p) const override {
    if (p.op != Op::k_cumsum) return Support::no("another op");
    const DType t = p.inputs[0].dtype;
    return is_row_dtype(t) || t == DType::kI32 || t == DType::kI64 ? Support::yes()
                                                                   : Support::no(fmt::format("x is {}", dtype_name(t)));
  }
  bool in_place(const Problem&, int index) const override { return index == 0; }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    return DeviceSource{"cumsum.cu",
                        "cumsum",
                        {fmt::format("ELEMENT={}", dtype_name(p.inputs[0].dtype)),
                         fmt::format("EXCLUSIVE={}", p.attrs.integer("exclusive")),
                         fmt::format("REVERSE={}", p.attrs.integer("reverse"))}};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    const int axis = axis_from(p.attrs.integer("axis"), p.inputs[0].rank());
    return make_launcher([axis, &device, function](const RunArgs& run) -> Status {
      const TensorArg x = run.input(0), y = run.output();
      if (y.numel() == 0) return {};
      const CumsumArgs args = {.x = x.data,
                               .y = y.data,
                               .lines = y.numel() / y.dim(axis),
                               .size = y.dim(axis),
                               .inner = elements_in(y.shape, axis + 1, y.rank())};
      return launch_with(device, function, run, launch_rows(args.lines, 32, device), args);
    });
  }
};

}  // namespace

const Kernel& cumsum_kernel() {
  static const CumsumKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
