// matmul of any two tensors of floats, and linear of weights that its own kernels do not take: computed when run, or of
// sizes that are no multiples of theirs. Nothing is packed. The device side is matmul.cu.
#include <limits>

#include "kernels/cpu/strided.h"
#include "kernels/cuda/device/grid_args.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.h"
#include "ops/activation.h"

namespace tenon::kernels::cuda {
namespace {

constexpr int64_t kMatmulTile = 64, kMatmulThreads = 128;  // matmul.cu
struct MatmulInput {
  enum { kA, kB, kBias, kResidual };
};

// The widest unit by which rows of so many elements can be copied.
int row_unit(const TensorArg& x, int64_t row) {
  const auto bits = static_cast<uint64_t>(row) * dtype_size(x.dtype) | device_ptr(x);
  return bits % 16 == 0 ? 16 : (bits % 4 == 0 ? 4 : 2);
}

// Shapes in numpy's form as batches of [m, k] x [k, n].
Result<MatmulArgs> matmul_args(const RunArgs& run) {
  const TensorArg a = run.input(MatmulInput::kA), b = run.input(MatmulInput::kB), y = run.output();
  const bool is_row = a.rank() == 1, is_column = b.rank() == 1;
  const int64_t k = a.dim(-1), b_rows = b.dim(is_column ? 0 : -2), n = is_column ? 1 : b.dim(-1);
  int64_t m = is_row ? 1 : a.dim(-2);
  if (b_rows != k) return error(ErrorCode::kBadInput, "rows of {} elements do not fit a matrix of {} rows", k, b_rows);
  const auto batch_of = [](std::span<const int64_t> shape, size_t own) { return shape.first(shape.size() - own); };
  const std::span<const int64_t> a_batch = batch_of(a.shape, is_row ? 1 : 2), b_batch = batch_of(b.shape, is_column ? 1 : 2),
                                 y_batch = batch_of(y.shape, (is_row ? 0 : 1) + (is_column ? 0 : 1));
  const auto count = [](std::span<const int64_t> shape) { return elements_in(shape, 0, static_cast<int>(shape.size())); };
  cpu::Broadcast grid(y_batch);
  if (!grid.add(a_batch) || !grid.add(b_batch)) return error(ErrorCode::kBadInput, "the inputs' batches do not fit the output's");
  grid.merge_axes();
  MatmulArgs args = {.a = a.data,
                     .b = b.data,
                     .bias = run.input(MatmulInput::kBias).data,
                     .residual = run.input(MatmulInput::kResidual).data,
                     .y = y.data,
                     .a_unit = row_unit(a, k),
                     .b_unit = row_unit(b, n),
                     .pairs = row_unit(y, n) > 2};
  if (count(b_batch) == 1 && count(a_batch) == count(y_batch)) {
    m *= count(a_batch);  // one product
  } else {
    args.rank = grid.rank();
    for (int axis = 0; axis < args.rank; ++axis) {
      args.sizes[axis] = divisor(grid.size(axis));
      args.a_strides[axis] = grid.stride(0, axis) * m * k;
      args.b_strides[axis] = grid.stride(1, axis) * k * n;
    }
  }
  constexpr int64_t kMost = std::numeric_limits<int>::max() - kMatmulTile;
  if (std::max({m, n, k}) > kMost) return error(ErrorCode::kUnsupported, "a matrix of more than 2^31 rows or columns");
  args.m = static_cast<int>(m), args.n = static_cast<int>(n), args.k = static_cast<int>(k);
  return args;
}

class MatmulKernel final : public CudaKernel {
 public:
  std::string_view id() const override { return "cuda.matmul"; }

  Support supports(const Problem& p) const override {
    if (p.op != Op::k_matmul && p.op != Op::k_linear) return Support::no("another op");
    for (const int i : {MatmulInput::kA, MatmulInput::kB})
      if (!is_row_dtype(p.inputs[static_cast<size_t>(i)].dtype))
        return Support::no(fmt::format("input {} is {}", i, dtype_name(p.inputs[static_cast<size_t>(i)].dtype)));
    if (const std::string& factors = p.attrs.text("factors"); !factors.empty() && factors != "tf32")
      return Support::no(fmt::format("factors of {} are asked for", factors));
    const int axes = p.outputs[0].rank();
    return axes <= kMostGridAxes ? Support::yes() : Support::no(fmt::format("more than {} axes", kMostGridAxes));
  }
  std::vector<Config> configs(const Problem& p) const override {
    const bool wide = p.inputs[MatmulInput::kA].dtype == DType::kF32;
    return {{.text = "", .numerics = !wide ? "mma-k16" : terms(p) == 1 ? "mma-tf32" : "mma-tf32x3"}};
  }
  bool in_place(const Problem& p, int index) const override { return p.op == Op::k_linear && index == MatmulInput::kResidual; }

  std::optional<DeviceSource> code(const Problem& p, const Config&, int) const override {
    const std::string activation = p.op == Op::k_linear ? p.attrs.text("activation") : "";
    return DeviceSource{"matmul.cu",
                        "matmul",
                        {fmt::format("ELEMENT={}", dtype_name(p.inputs[MatmulInput::kA].dtype)), fmt::format("TERMS={}", terms(p)),
                         fmt::format("ACTIVATION={}", static_cast<int>(*ops::parse_activation(activation))),
                         fmt::format("HAS_BIAS={}", p.has(MatmulInput::kBias) ? 1 : 0),
                         fmt::format("HAS_RESIDUAL={}", p.has(MatmulInput::kResidual) ? 1 : 0)}};
  }

  Result<std::unique_ptr<Launcher>> load(const Problem&, const Config&, const Device& device, Function function) const override {
    TENON_TRY(allow_shared_memory(device, function, MatmulArgs::kSharedBytes));
    return make_launcher([&device, function](const RunArgs& run) -> Status {
      const int64_t count = run.output().numel();
      if (count == 0) return {};
      TENON_ASSIGN(const MatmulArgs args, matmul_args(run));
      const int64_t rows = args.m, batches = count / args.n / rows;
      const int64_t tiles = batches * blocks_for(rows, kMatmulTile) * blocks_for(args.n, kMatmulTile);
      if (tiles > INT32_MAX) return error(ErrorCode::kUnsupported, "a product of more than 2^31 - 1 tiles");
      Launch launch;
      launch.grid[0] = static_cast<unsigned>(tiles);
      launch.block[0] = kMatmulThreads;
      launch.shared_bytes = MatmulArgs::kSharedBytes;
      return launch_with(device, function, run, launch, args);
    });
  }

 private:
  static int terms(const Problem& p) { return p.attrs.text("factors").empty() ? 2 : 1; }
};

}  // namespace

const Kernel& matmul_kernel() {
  static const MatmulKernel kernel;
  return kernel;
}

}  // namespace tenon::kernels::cuda
