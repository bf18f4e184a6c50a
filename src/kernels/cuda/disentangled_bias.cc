// disentangled_bias by mma.sync: the device side is disentangled_bias.cu.
#include <limits>

#include "kernels/cuda/device/disentangled_bias_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"

namespace tenon::kernels::cuda {
namespace {

struct BiasInput {
  enum { kQ, kK, kQTable, kQIndex, kKTable, kKIndex, kQOffsets, kKBegin, kKEnd, kQPositions, kKPositions };
};
constexpr int64_t kBiasTile = 64, kBiasThreads = 256;  // as in the device code

// Of a block, as `Shared` there.
int64_t bias_shared_bytes(const Problem& problem) {
  const auto size = static_cast<int64_t>(dtype_size(problem.outputs[0].dtype));
  const int64_t window = size == 4 ? 64 : 128, row = (problem.attrs.integer("head_dim") * size + 31) / 32 * 32;
  const int64_t pitch = row + (row / 16 % 2 == 0 ? 16 : 0);
  return 2 * (kBiasTile + window) * pitch + kBiasTile * (window + 4) * 4 + 2 * kBiasTile * 4 + kBiasThreads / 32 * 16;
}

Result<DisentangledBiasArgs> bias_args(const ir::Attrs& attrs, const RunArgs& run) {
  const TensorArg y = run.output();
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max() / 2;
  const auto side = [&](int rows, int table, int positions) {
    const TensorArg x = run.input(rows), t = run.input(table);
    const int64_t column = attrs.integers("columns")[static_cast<size_t>(rows)];
    return DisentangledBiasArgs::Side{
        .rows = x.as<const std::byte>() + column * static_cast<int64_t>(dtype_size(x.dtype)),
        .stride = static_cast<int>(x.dim(-1)),
        .table = t.data,
        .index = run.input(table + 1).as<const int>(),
        .table_rows = t ? static_cast<int>(t.dim(0)) : 0,
        .positions = run.input(positions).as<const int>()};
  };
  for (const int i : {BiasInput::kQ, BiasInput::kK, BiasInput::kQTable, BiasInput::kKTable}) {
    const TensorArg x = run.input(i);
    if (x && (x.dim(-1) > kMost || x.numel() / std::max<int64_t>(1, x.dim(-1)) > kMost))
      return error(ErrorCode::kBadInput, "a bias of {} rows of {} columns is too large", x.numel() / x.dim(-1),
                   x.dim(-1));
  }
  if (y.dim(2) > kMost || y.dim(3) > kMost)
    return error(ErrorCode::kBadInput, "a bias of {} x {} positions is too large", y.dim(2), y.dim(3));
  return DisentangledBiasArgs{.q = side(BiasInput::kQ, BiasInput::kQTable, BiasInput::kQPositions),
                              .k = side(BiasInput::kK, BiasInput::kKTable, BiasInput::kKPositions),
                              .y = y.data,
                              .q_offsets = run.input(BiasInput::kQOffsets).as<const int>(),
                              .k_begin = run.input(BiasInput::kKBegin).as<const int>(),
                              .k_end = run.input(BiasInput::kKEnd).as<const int>(),
                              .q_len = static_cast<int>(y.dim(2)),
                              .k_len = static_cast<int>(y.dim(3)),
                              .heads = static_cast<int>(y.dim(1)),
                              .scale = static_cast<float>(attrs.number("scale"))};
}

class DisentangledBias final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.disentangled_bias"; }

  Support supports(const Problem& problem) const override {
    if (problem.op != Op::k_disentangled_bias) return Support::no("computes disentangled_bias only");
    const DType dtype = problem.outputs[0].dtype;
    if (!is_row_dtype(dtype)) return Support::no(fmt::format("computes no {}", dtype_name(dtype)));
    const auto size = static_cast<int64_t>(dtype_size(dtype)), dim = problem.attrs.integer("head_dim");
    if (dim * size % 16 != 0 || dim > 128)
      return Support::no(fmt::format("head_dim {} is not a multiple of {} up to 128", dim, 16 / size));
    for (const int i : {BiasInput::kQ, BiasInput::kK}) {
      const auto index = static_cast<size_t>(i);
      const ir::Dim& width = problem.inputs[index].shape.back();
      const int64_t column = problem.attrs.integers("columns")[index];
      if (!width.is_const() || width.value() * size % 16 != 0 || column * size % 16 != 0)
        return Support::no(fmt::format("rows or columns of input {} are no multiples of 16 bytes", i));
    }
    return Support::yes();
  }

  std::vector<Config> configs(const Problem& problem) const override {
    const bool wide = problem.outputs[0].dtype == DType::kF32;
    return {{.text = "", .numerics = wide ? "mma-tf32x3" : "mma-k16", .cost = 0}};
  }

  std::optional<DeviceSource> code(const Problem& problem, const Config&, int) const override {
    return DeviceSource{.file = "disentangled_bias.cu",
                        .entry = "disentangled_bias",
                        .defines = {fmt::format("ELEMENT={}", dtype_name(problem.outputs[0].dtype)),
                                    fmt::format("HEAD_DIM={}", problem.attrs.integer("head_dim")), "TERMS=2"}};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem& problem, const Config&, const Device& device,
                                         Function function) const override {
    const auto shared = static_cast<int>(bias_shared_bytes(problem));
    TENON_TRY(allow_shared_memory(device, function, shared));
    return make_launcher([attrs = problem.attrs, shared, &device, function](const RunArgs& run) -> Status {
      if (run.output().numel() == 0) return {};
      TENON_ASSIGN(DisentangledBiasArgs args, bias_args(attrs, run));
      const int64_t heads = run.output().dim(0) * args.heads, k_tiles = blocks_for(args.k_len, kBiasTile);
      args.q_tiles = static_cast<int>(blocks_for(args.q_len, kBiasTile));
      // Keys are shared where there are few other blocks.
      const int64_t wanted = blocks_for(2 * device.multiprocessors(), heads * args.q_tiles);
      args.k_parts = static_cast<int>(std::clamp<int64_t>(wanted, 1, k_tiles));
      const int64_t blocks = heads * args.q_tiles * args.k_parts;
      if (blocks > std::numeric_limits<int32_t>::max())
        return error(ErrorCode::kUnsupported, "a bias of more than 2^31 - 1 tiles");
      return launch_with(device, function, run,
                         {.grid = {static_cast<unsigned>(blocks), 1, 1},
                          .block = {kBiasThreads, 1, 1},
                          .shared_bytes = static_cast<unsigned>(shared)},
                         args);
    });
  }
};

}  // namespace

const Kernel& disentangled_bias_kernel() {
  static const DisentangledBias kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
