#include "tests/cuda/run_cuda_kernel.h"

namespace tenon::test {
namespace {

TEST(CudaLinearNarrow, AgreesWithTheReference) {
  Random random(7);
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (const auto& [rows, depth, columns] : {std::tuple<int64_t, int64_t, int64_t>{1, 8, 1}, {7, 768, 2}, {129, 1024, 3}, {127, 264, 9}, {2, 40, 32}}) {
      SCOPED_TRACE(fmt::format("{} x {} x {}", rows, depth, columns));
      const double size = 1 / std::sqrt(static_cast<double>(depth));
      const Step step = {.op = Op::k_linear,
                         .inputs = {random.tensor(dtype, {rows, depth}), random.tensor(dtype, {depth, columns}, -size, size),
                                    random.tensor(dtype, {columns}), random.tensor(dtype, {rows, columns})},
                         .attrs = {{"activation", std::string(columns == 3 ? "gelu" : "")}},
                         .constants = {1}};
      expect_like_reference(*kernels::cuda::linear_narrow_kernel().as_cuda(), step, tolerance(dtype) * 4);
    }
  }
}

TEST(CudaLinearNarrow, NormalisesX) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : {DType::kF16, DType::kBF16}) {
    for (const auto& [rows, depth, columns] : {std::tuple<int64_t, int64_t, int64_t>{1, 64, 1}, {7, 768, 2}, {129, 1024, 9}}) {
      SCOPED_TRACE(fmt::format("{} x {} x {} of {}", rows, depth, columns, dtype_name(dtype)));
      const double size = 1 / std::sqrt(static_cast<double>(depth));
      const Tensor uniform = random.tensor(DType::kF32, {rows, depth / 64, 2}, 0, 1);
      const Tensor moments = filled(DType::kF32, uniform.shape(), [&](int64_t i) {
        return i % 2 == 0 ? uniform.at(i) - 0.5 : 32 + 64 * uniform.at(i);
      });
      const Step step = {.op = Op::k_linear_norm,
                         .inputs = {random.tensor(dtype, {rows, depth}), random.tensor(dtype, {depth, columns}, -size, size),
                                    random.tensor(DType::kF32, {columns}), std::nullopt, moments},
                         .attrs = {{"epsilon", 0.01}},
                         .constants = {1}};
      expect_like_reference(*kernels::cuda::linear_narrow_kernel().as_cuda(), step, tolerance(dtype) * 4);
    }
  }
}

}  // namespace
}  // namespace tenon::test
