// What the host sides of the kernels on rows, of the elementwise and of the moving ones share.
#pragma once

#include "kernels/cuda/cuda_kernel.h"
#include "kernels/cuda/device/grid_args.cuh"

namespace tenon::kernels::cuda {

// A launcher from a function of the arguments.
template <class F>
class FunctionLauncher final : public Launcher {
 public:
  explicit FunctionLauncher(F f) : f_(std::move(f)) {}
  Status launch(const RunArgs& args) const override { return f_(args); }

 private:
  F f_;
};
template <class F>
std::unique_ptr<Launcher> make_launcher(F f) {
  return std::make_unique<FunctionLauncher<F>>(std::move(f));
}

constexpr int64_t blocks_for(int64_t count, int64_t per_block) { return (count + per_block - 1) / per_block; }

// The elements in axes [begin, end).
inline int64_t elements_in(std::span<const int64_t> shape, int begin, int end) {
  int64_t n = 1;
  for (int i = begin; i < end; ++i) n *= shape[static_cast<size_t>(i)];
  return n;
}

// An axis attribute as one in [0, rank).
inline int axis_from(int64_t axis, int rank) { return static_cast<int>(axis < 0 ? axis + rank : axis); }

// The dtypes of kernels on rows: also their names in device code.
inline bool is_row_dtype(DType t) { return t == DType::kF16 || t == DType::kBF16 || t == DType::kF32; }

// A row of a width that is known when compiling, spread over the lanes that hold it in registers.
struct RowLayout {
  int64_t width = 0;
  int vector = 1, lanes = 1;  // a lane reads `vector` elements at once
  std::vector<std::string> defines(DType element) const;
};
inline constexpr int64_t kWidestRow = 8192;
// Requires a width of 1 to kWidestRow.
RowLayout row_layout(int64_t width, DType element);
// The width of axes [axis, rank), or why no kernel holds such a row.
Result<int64_t> row_width(const ir::Shape& shape, int axis);

// Blocks of (lanes, rows) threads: few rows are spread over all multiprocessors.
Launch launch_rows(int64_t rows, int lanes, const Device& device);
// One thread for each of `threads`.
Launch launch_flat(int64_t threads);

// Requires 1 <= value < 2^31.
Divisor divisor(int64_t value);

// Kernel arguments by value.
template <class Args>
Status launch_with(const Device& device, Function function, const RunArgs& run, const Launch& launch, Args args) {
  void* parameters[] = {&args};
  return launch_kernel(device, function, run.stream, launch, parameters);
}

}  // namespace tenon::kernels::cuda
