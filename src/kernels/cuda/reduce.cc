// softmax and log_softmax (softmax.cu), reductions over neighbouring axes and segment_reduce (reduce.cu).
#include "kernels/cuda/device/row_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {
namespace {

// Lanes that walk a row of a size which need not be known when compiling.
int lanes_for(const ir::Dim& size) { return size.is_const() && size.value() <= 512 ? 32 : 128; }

class SoftmaxKernel final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.softmax"; }

  Support supports(const Problem& p) const override {
    if (p.op != Op::k_softmax && p.op != Op::k_log_softmax) return Support::no("another op");
    const TensorType& x = p.inputs[0];
    if (!is_row_dtype(x.dtype)) return Support::no(fmt::format("x is {}", dtype_name(x.dtype)));
    return axis_from(p.attrs.integer("axis"), x.rank()) == x.rank() - 1 ? Support::yes()
                                                                        : Support::no("not over the last axis");
  }
  bool in_place(const Problem&, int index) const override { return index == 0; }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    return DeviceSource{"softmax.cu",
                        "softmax",
                        {fmt::format("ELEMENT={}", dtype_name(p.inputs[0].dtype)),
                         fmt::format("LANES={}", lanes_for(p.inputs[0].shape.back())),
                         fmt::format("LOG={}", p.op == Op::k_log_softmax ? 1 : 0)}};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    const int lanes = lanes_for(p.inputs[0].shape.back());
    return make_launcher([lanes, &device, function](const RunArgs& args) -> Status {
      const TensorArg x = args.input(0), y = args.output();
      if (y.numel() == 0) return {};
      const int64_t rows = y.numel() / y.dim(-1);
      return launch_with(device, function, args, launch_rows(rows, lanes, device),
                         ReduceRowsArgs{x.data, y.data, static_cast<int>(rows), y.dim(-1)});
    });
  }
};

// The struct of reduce.cu that does it, or null.
const char* reduction_kind(const Problem& p) {
  switch (p.op) {
    case Op::k_reduce_sum:
      return "Total";
    case Op::k_reduce_mean:
      return "Mean";
    case Op::k_reduce_max:
      return "Most";
    case Op::k_reduce_min:
      return "Least";
    case Op::k_reduce_prod:
      return "Product";
    case Op::k_reduce_l2:
      return "Norm2";
    case Op::k_segment_reduce: {
      const std::string& kind = p.attrs.text("kind");
      return kind == "sum" ? "Total" : (kind == "mean" ? "Mean" : "Most");
    }
    default:
      return nullptr;
  }
}

class ReduceKernel final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.reduce"; }

  Support supports(const Problem& p) const override {
    if (reduction_kind(p) == nullptr) return Support::no("another op");
    if (!is_row_dtype(p.inputs[0].dtype)) return Support::no(fmt::format("x is {}", dtype_name(p.inputs[0].dtype)));
    if (p.op == Op::k_segment_reduce) return Support::yes();
    const std::vector<int64_t>& axes = p.attrs.integers("axes");
    if (axes.empty()) return Support::no("no axis is reduced");
    for (size_t i = 1; i < axes.size(); ++i)
      if (axes[i] != axes[i - 1] + 1) return Support::no("axes are not neighbours");
    return Support::yes();
  }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    std::vector<std::string> defines = {fmt::format("ELEMENT={}", dtype_name(p.inputs[0].dtype)),
                                        fmt::format("KIND={}", reduction_kind(p))};
    if (over_rows(p)) {
      defines.push_back(fmt::format("LANES={}", kLanes));
      return DeviceSource{"reduce.cu", "reduce_rows", std::move(defines)};
    }
    defines.push_back(fmt::format("VECTOR={}", vector_of(p)));
    return DeviceSource{"reduce.cu", "reduce_columns", std::move(defines)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    if (p.op == Op::k_segment_reduce) {
      return make_launcher([vector = vector_of(p), &device, function](const RunArgs& args) -> Status {
        const TensorArg x = args.input(0), y = args.output();
        return reduce_columns(device, function, args, vector,
                              ReduceColumnsArgs{.segments = static_cast<int>(y.dim(0)),
                                                .rows = static_cast<int>(x.dim(0)),
                                                .width = static_cast<int>(elements_in(x.shape, 1, x.rank())),
                                                .begin = args.input(1).as<const int>(),
                                                .end = args.input(2).as<const int>()});
      });
    }
    const int first = static_cast<int>(p.attrs.integers("axes").front()),
              behind = static_cast<int>(p.attrs.integers("axes").back()) + 1;
    if (over_rows(p)) {
      return make_launcher([first, &device, function](const RunArgs& args) -> Status {
        const TensorArg x = args.input(0);
        const int64_t rows = elements_in(x.shape, 0, first);
        if (rows == 0) return {};
        return launch_with(
            device, function, args, launch_rows(rows, kLanes, device),
            ReduceRowsArgs{x.data, args.output().data, static_cast<int>(rows), elements_in(x.shape, first, x.rank())});
      });
    }
    return make_launcher([first, behind, vector = vector_of(p), &device, function](const RunArgs& args) -> Status {
      const TensorArg x = args.input(0);
      return reduce_columns(device, function, args, vector,
                            ReduceColumnsArgs{.segments = static_cast<int>(elements_in(x.shape, 0, first)),
                                              .width = static_cast<int>(elements_in(x.shape, behind, x.rank())),
                                              .size = elements_in(x.shape, first, behind)});
    });
  }

 private:
  static constexpr int kLanes = 128;

  // The reduced axes are the last ones (but for axes of size 1).
  static bool over_rows(const Problem& p) { return p.op != Op::k_segment_reduce && columns_of(p) == ir::Dim(1); }

  // How many results lie side by side.
  static ir::Dim columns_of(const Problem& p) {
    const size_t behind = p.op == Op::k_segment_reduce ? 1 : static_cast<size_t>(p.attrs.integers("axes").back()) + 1;
    ir::Dim columns(1);
    for (size_t i = behind; i < p.inputs[0].shape.size(); ++i) columns = columns * p.inputs[0].shape[i];
    return columns;
  }
  static int vector_of(const Problem& p) {
    const int whole = 16 / static_cast<int>(dtype_size(p.inputs[0].dtype));
    const ir::Dim columns = columns_of(p);
    return columns.is_const() && columns.value() % whole == 0 ? whole : 1;
  }

  static Status reduce_columns(const Device& device, Function function, const RunArgs& run, int vector,
                               ReduceColumnsArgs args) {
    if (args.segments == 0 || args.width == 0) return {};
    args.x = run.input(0).data;
    args.y = run.output().data;
    Launch launch;
    launch.grid[0] = static_cast<unsigned>(args.segments);
    launch.grid[1] = static_cast<unsigned>(blocks_for(args.width, 8 * vector));  // as in reduce.cu
    launch.block[0] = 8;
    launch.block[1] = 32;
    return launch_with(device, function, run, launch, args);
  }
};

}  // namespace

const Kernel& softmax_kernel() {
  static const SoftmaxKernel kernel;
  return kernel;
}

const Kernel& reduce_kernel() {
  static const ReduceKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
