// embedding: embedding.cu.
#include "kernels/cpu/strided.h"
#include "kernels/cuda/device/row_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {
namespace {

class EmbeddingKernel final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.embedding"; }

  Support supports(const Problem& p) const override {
    if (p.op != Op::k_embedding) return Support::no("another op");
    if (!is_row_dtype(p.inputs[1].dtype))
      return Support::no(fmt::format("tables are {}", dtype_name(p.inputs[1].dtype)));
    if (tables_of(p) > EmbeddingArgs::kMostTables)
      return Support::no(fmt::format("more than {} tables", EmbeddingArgs::kMostTables));
    if (p.outputs[0].rank() > EmbeddingArgs::kMostAxes)
      return Support::no(fmt::format("more than {} axes", EmbeddingArgs::kMostAxes));
    for (int i = 0; i < tables_of(p); ++i) {
      const DType ids = p.inputs[static_cast<size_t>(2 * i)].dtype;
      if (ids != DType::kI32 && ids != DType::kI64)
        return Support::no(fmt::format("ids of table {} are {}", i, dtype_name(ids)));
    }
    const auto width = width_of(p);
    return width.ok() ? Support::yes() : Support::no(width.status().message());
  }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    std::vector<std::string> defines = row_layout(*width_of(p), p.inputs[1].dtype).defines(p.inputs[1].dtype);
    const bool weights = p.constant[p.constant.size() - 2] && p.constant.back();
    defines.push_back(fmt::format("TABLES={}", tables_of(p)));
    defines.push_back(fmt::format("NORM={}", !has_norm(p) ? 0 : (weights ? 2 : 1)));
    return DeviceSource{"embedding.cu", "embedding", std::move(defines)};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& p, const Config&, const Device& device,
                                         Function function) const override {
    const RowLayout layout = row_layout(*width_of(p), p.inputs[1].dtype);
    const auto epsilon = static_cast<float>(p.attrs.number("epsilon"));
    const int tables = tables_of(p);
    const bool norm = has_norm(p);
    return make_launcher([=, &device](const RunArgs& run) -> Status {
      const TensorArg y = run.output();
      const std::span<const int64_t> grid = y.shape.first(y.shape.size() - 1);
      EmbeddingArgs args = {};
      args.rows = static_cast<int>(elements_in(grid, 0, static_cast<int>(grid.size())));
      if (args.rows == 0) return {};
      cpu::Broadcast ids(grid);
      for (int i = 0; i < tables; ++i)
        if (!ids.add(run.input(2 * i).shape))
          return error(ErrorCode::kBadInput, "ids of table {} do not fit the output", i);
      ids.merge_axes();
      args.rank = ids.rank();
      for (int axis = 0; axis < args.rank; ++axis) args.sizes[axis] = static_cast<int>(ids.size(axis));
      for (int i = 0; i < tables; ++i) {
        EmbeddingArgs::Table& table = args.tables[i];
        table.ids = run.input(2 * i).data;
        table.wide = run.input(2 * i).dtype == DType::kI64;
        table.rows = run.input(2 * i + 1).data;
        table.count = static_cast<int>(run.input(2 * i + 1).dim(0));
        for (int axis = 0; axis < args.rank; ++axis) table.strides[axis] = static_cast<int>(ids.stride(i, axis));
      }
      if (norm) {
        args.gamma = run.input(2 * tables).data;
        args.beta = run.input(2 * tables + 1).data;
      }
      args.y = y.data;
      args.epsilon = epsilon;
      return launch_with(device, function, run, launch_rows(args.rows, layout.lanes, device), args);
    });
  }

 private:
  static bool has_norm(const Problem& p) { return p.attrs.integer("norm") != 0; }
  static int tables_of(const Problem& p) { return (static_cast<int>(p.inputs.size()) - (has_norm(p) ? 2 : 0)) / 2; }
  static Result<int64_t> width_of(const Problem& p) { return row_width(p.outputs[0].shape, p.outputs[0].rank() - 1); }
};

}  // namespace

const Kernel& embedding_kernel() {
  static const EmbeddingKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
