#include "tests/cuda/row_kernels.h"

namespace tenon::test {
namespace {

namespace device = kernels::cuda;

TEST(CudaSoftmax, AgreesWithReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kRowTypes) {
    for (const int64_t size : {1, 7, 127, 129, 1000, 30522}) {
      SCOPED_TRACE(fmt::format("{} {}", dtype_name(dtype), size));
      const Tensor x = random.tensor(dtype, {3, 5, size}, -20, 20);
      expect_like_reference(device::softmax_kernel(), {Op::k_softmax, {x}}, allowed_for(dtype));
      expect_like_reference(device::softmax_kernel(), {Op::k_log_softmax, {x}}, allowed_for(dtype));
    }
  }
  EXPECT_EQ(
      declined(device::softmax_kernel(), {Op::k_softmax, {random.tensor(DType::kF16, {2, 3})}, {{"axis", int64_t{0}}}}),
      "not over the last axis");
}

TEST(CudaSoftmax, InfinitiesAsInTheReference) {
  const float inf = INFINITY;
  const Tensor x = Tensor::from(DType::kF32, {3, 2}, std::vector<float>{-inf, -inf, 0, -inf, 3, 4});
  expect_like_reference(device::softmax_kernel(), {Op::k_softmax, {x}}, allowed_for(DType::kF32));
}

TEST(CudaReduce, AgreesWithReferenceOverNeighbouringAxes) {
  Random random;
  SCOPED_TRACE(random.trace());
  const std::vector<std::vector<int64_t>> sets{{0}, {1}, {2}, {0, 1}, {1, 2}, {0, 1, 2}};
  for (const DType dtype : kRowTypes) {
    for (const Op op : {Op::k_reduce_sum, Op::k_reduce_mean, Op::k_reduce_max, Op::k_reduce_min, Op::k_reduce_prod,
                        Op::k_reduce_l2}) {
      for (const auto& axes : sets) {
        const std::vector<int64_t> shape{random.integer(1, 9), random.integer(1, 140),
                                         random.pick(std::vector<int64_t>{1, 5, 16, 129})};
        SCOPED_TRACE(
            fmt::format("{} {} of {}", ir::op_name(op), dtype_name(dtype), ir::to_string(ir::to_shape(shape))));
        const bool product = op == Op::k_reduce_prod;  // of values near 1, or it is 0 or infinite
        const Tensor x = random.tensor(dtype, shape, product ? 0.99 : -2, product ? 1.01 : 2);
        expect_like_reference(device::reduce_kernel(), {op, {x}, {{"axes", axes}, {"keepdims", random.integer(0, 1)}}},
                              allowed_for(dtype) * 8);
      }
    }
  }
}

TEST(CudaReduce, ANanStaysOne) {
  const Tensor x = floats({3, 2}, {NAN, 1, 2, 3, 4, NAN});
  for (const Op op : {Op::k_reduce_max, Op::k_reduce_min, Op::k_reduce_sum})
    for (const int64_t axis : {0, 1})
      expect_like_reference(device::reduce_kernel(), {op, {x}, {{"axes", std::vector<int64_t>{axis}}}},
                            allowed_for(DType::kF32));
}

TEST(CudaCumsum, AgreesWithReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : {DType::kF16, DType::kBF16, DType::kF32, DType::kI32, DType::kI64}) {
    for (const int64_t axis : {0, 1, -1}) {
      const std::vector<int64_t> shape{random.integer(1, 40), random.integer(1, 129), random.integer(1, 70)};
      SCOPED_TRACE(fmt::format("{} {} axis {}", dtype_name(dtype), ir::to_string(ir::to_shape(shape)), axis));
      expect_like_reference(device::cumsum_kernel(),
                            {Op::k_cumsum,
                             {random.tensor(dtype, shape)},
                             {{"axis", axis}, {"exclusive", random.integer(0, 1)}, {"reverse", random.integer(0, 1)}}},
                            allowed_for(dtype) * 8);
    }
  }
}

}  // namespace
}  // namespace tenon::test
