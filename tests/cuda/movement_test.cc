#include <numeric>

#include "kernels/cuda/rows.h"
#include "tests/cuda/row_kernels.h"

namespace tenon::test {
namespace {

namespace device = kernels::cuda;

const std::vector<DType> kMovedTypes{DType::kU8, DType::kF16, DType::kF32, DType::kI64};

TEST(CudaGather, AgreesWithReferenceOnEveryAxis) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kMovedTypes) {
    for (int64_t axis = -3; axis < 3; ++axis) {
      const std::vector<int64_t> shape{random.integer(1, 9), random.integer(1, 9), random.integer(1, 40)};
      const auto size = static_cast<double>(shape[static_cast<size_t>((axis + 3) % 3)]);
      const DType ids = random.chance(0.5) ? DType::kI32 : DType::kI64;
      SCOPED_TRACE(fmt::format("{} axis {} by {}", dtype_name(dtype), axis, dtype_name(ids)));
      expect_like_reference(
          device::gather_kernel(),
          {Op::k_gather, {random.tensor(dtype, shape), random.tensor(ids, {3, 5}, -size, size - 1)}, {{"axis", axis}}},
          {});
    }
  }
  expect_like_reference(
      device::gather_kernel(),
      {Op::k_gather, {random.tensor(DType::kF16, {129, 768}), random.tensor(DType::kI32, {7}, 0, 128)}}, {});
  expect_like_reference(device::gather_kernel(),
                        {Op::k_gather,
                         {random.tensor(DType::kF16, {129, 2}), random.tensor(DType::kI64, {}, 0, 1)},
                         {{"axis", int64_t{1}}}},
                        {});
}

TEST(CudaGather, TakesTuples) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int64_t batch_dims = 0; batch_dims < 3; ++batch_dims) {
    for (int64_t depth = 1; depth <= 4 - batch_dims; ++depth) {
      SCOPED_TRACE(fmt::format("{} batch axes, tuples of {}", batch_dims, depth));
      std::vector<int64_t> indices{3, 4};
      indices.resize(static_cast<size_t>(batch_dims));
      indices.push_back(random.integer(1, 9));
      indices.push_back(depth);
      expect_like_reference(
          device::gather_kernel(),
          {Op::k_gather_nd,
           {random.tensor(random.pick(kMovedTypes), {3, 4, 5, 32}), random.tensor(DType::kI64, indices, -3, 2)},
           {{"batch_dims", batch_dims}}},
          {});
    }
  }
}

TEST(CudaGatherElements, AgreesWithReferenceOnEveryAxis) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kMovedTypes) {
    for (int64_t axis = -3; axis < 3; ++axis) {
      const std::vector<int64_t> shape{random.integer(1, 9), random.integer(1, 9), random.integer(1, 40)};
      const auto along = static_cast<size_t>((axis + 3) % 3);
      std::vector<int64_t> taken = shape;  // along other axes no more than there is
      for (int64_t& n : taken) n = random.integer(1, n);
      taken[along] = random.integer(1, 50);
      const auto size = static_cast<double>(shape[along]);
      const DType ids = random.chance(0.5) ? DType::kI32 : DType::kI64;
      SCOPED_TRACE(fmt::format("{} axis {} by {}", dtype_name(dtype), axis, dtype_name(ids)));
      expect_like_reference(device::gather_elements_kernel(),
                            {Op::k_gather_elements,
                             {random.tensor(dtype, shape), random.tensor(ids, taken, -size, size - 1)},
                             {{"axis", axis}}},
                            {});
    }
  }
}

TEST(CudaGather, ClampsIndices) {
  if (gpu() == nullptr) GTEST_SKIP() << "no GPU";
  Random random;
  const Tensor x = random.tensor(DType::kF16, {10, 16});
  const auto actual =
      run_cuda_kernel(*device::gather_kernel().as_cuda(), {Op::k_gather, {x, int32s({-50, 3, 1 << 30, 10})}}, {});
  const auto expected = run_op(Op::k_gather, {x, int32s({0, 3, 9, 9})});
  ASSERT_TRUE(actual.ok()) << actual.status().message();
  EXPECT_TRUE(close((*actual)[0], (*expected)[0], {}));
}

TEST(CudaViews, Transpose) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kMovedTypes) {
    for (int trial = 0; trial < 12; ++trial) {
      std::vector<int64_t> shape(static_cast<size_t>(random.integer(1, 5))), perm(shape.size());
      for (int64_t& size : shape) size = random.pick(std::vector<int64_t>{1, 2, 3, 7, 8, 16});
      std::iota(perm.begin(), perm.end(), 0);
      std::shuffle(perm.begin(), perm.end(), random.engine());
      expect_like_reference(device::view_kernel(), {Op::k_transpose, {random.tensor(dtype, shape)}, {{"perm", perm}}},
                            {});
    }
  }
}

TEST(CudaViews, Expand) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kMovedTypes) {
    expect_like_reference(device::view_kernel(),
                          {Op::k_expand, {random.tensor(dtype, {3, 1, 8})}, {{"shape", ir::to_shape({2, 3, 5, 8})}}},
                          {});
    expect_like_reference(device::view_kernel(),
                          {Op::k_expand, {random.tensor(dtype, {4, 1})}, {{"shape", ir::to_shape({4, 7})}}}, {});
  }
}

TEST(CudaViews, Tile) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kMovedTypes) {
    expect_like_reference(device::view_kernel(),
                          {Op::k_tile, {random.tensor(dtype, {2, 7, 16})}, {{"repeats", ir::to_shape({1, 1, 4})}}}, {});
    expect_like_reference(device::view_kernel(),
                          {Op::k_tile, {random.tensor(dtype, {3, 5})}, {{"repeats", ir::to_shape({2, 3})}}}, {});
  }
}

TEST(CudaViews, Slice) {
  Random random;
  SCOPED_TRACE(random.trace());
  const auto slice = [&](DType dtype, std::vector<int64_t> axes, std::vector<int64_t> starts, std::vector<int64_t> ends,
                         std::vector<int64_t> steps) {
    expect_like_reference(device::view_kernel(),
                          {Op::k_slice,
                           {random.tensor(dtype, {6, 9, 32})},
                           {{"axes", std::move(axes)},
                            {"starts", ir::to_shape(starts)},
                            {"ends", ir::to_shape(ends)},
                            {"steps", std::move(steps)}}},
                          {});
  };
  for (const DType dtype : kMovedTypes) {
    slice(dtype, {0}, {2}, {5}, {1});
    slice(dtype, {2}, {8}, {24}, {1});
    slice(dtype, {1, 2}, {8, 31}, {-1, 0}, {-3, -2});
    slice(dtype, {1}, {0}, {9}, {4});
    slice(dtype, {1}, {4}, {4}, {1});
  }
}

TEST(CudaViews, Concat) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kMovedTypes) {
    for (const int64_t axis : {0, 1, -1}) {
      const auto part = [&](int64_t size) {
        std::vector<int64_t> shape{4, 3, 8};
        shape[static_cast<size_t>(axis < 0 ? axis + 3 : axis)] = size;
        return random.tensor(dtype, shape);
      };
      expect_like_reference(device::view_kernel(),
                            {Op::k_concat, {part(1), part(16), part(0), part(5)}, {{"axis", axis}}}, {});
    }
  }
}

// Kernels divide by these instead of dividing.
TEST(CudaDivisors, GiveTheQuotientOfAnyNumber) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int trial = 0; trial < 20000; ++trial) {
    const int64_t d = random.integer(1, std::max(1, INT32_MAX >> random.integer(0, 30)));
    const auto prepared = device::divisor(d);
    for (const int64_t n : {random.integer(0, INT32_MAX), d - 1, d, d * (INT32_MAX / d), int64_t{INT32_MAX}}) {
      const auto u = static_cast<uint32_t>(n);
      const auto high = static_cast<uint32_t>(static_cast<uint64_t>(u) * prepared.factor >> 32);
      ASSERT_EQ((high + u) >> prepared.shift, static_cast<uint32_t>(n / d)) << n << " / " << d;
    }
  }
}

// ---- Packed tokens --------------------------------------------------------------------------------------------------

// A mask with its packing: holes, left padding, empty sequences and kept positions.
struct TokenPacking {
  std::vector<Tensor> outputs;  // of pack_tokens
  int64_t tokens = 0;
};

TokenPacking token_packing(Random& random, int64_t batch, int64_t seq, bool holes) {
  std::vector<int64_t> lengths;
  for (int64_t b = 0; b < batch; ++b) lengths.push_back(random.integer(0, seq));
  const Tensor mask = filled(DType::kI64, {batch, seq}, [&](int64_t i) {
    return holes ? static_cast<double>(random.integer(0, 1))
                 : (i % seq < lengths[static_cast<size_t>(i / seq)] ? 1.0 : 0.0);
  });
  const std::vector<int64_t> kept{0};
  TokenPacking packing;
  packing.tokens = output_of(run_op(Op::k_count_tokens, {mask}, {{"keep_positions", kept}})).int_at(0);
  packing.outputs =
      *run_op(Op::k_pack_tokens, {mask}, {{"keep_positions", kept}, {"tokens", ir::to_shape({packing.tokens + 3})}});
  packing.tokens += 3;  // rows that hold nothing
  return packing;
}

TEST(CudaTokens, Unpack) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : {DType::kF16, DType::kF32}) {
    for (const int64_t width : {1, 5, 64}) {
      for (const bool holes : {false, true}) {
        const TokenPacking p = token_packing(random, 5, 33, holes);
        const Tensor x =
            random.tensor(dtype, width == 1 ? std::vector<int64_t>{p.tokens} : std::vector<int64_t>{p.tokens, width});
        expect_like_reference(
            device::unpack_tokens_kernel(),
            {Op::k_unpack_tokens, {x, p.outputs[3], p.outputs[0], p.outputs[1]}, {{"shape", ir::to_shape({5, 33})}}},
            {});
      }
    }
  }
}

TEST(CudaTokens, UnpackConvertsAndTakesOneColumn) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const auto& [from, to] :
       {std::pair{DType::kF16, DType::kF32}, {DType::kBF16, DType::kF32}, {DType::kF32, DType::kF16},
        {DType::kF16, DType::kF16}}) {
    for (const int64_t width : {2, 9, 12, 40}) {
      for (const int64_t column : {int64_t{-1}, int64_t{0}, width - 1}) {
        SCOPED_TRACE(fmt::format("column {} of {}, {} to {}", column, width, dtype_name(from), dtype_name(to)));
        const TokenPacking p = token_packing(random, 5, 33, random.chance(0.5));
        expect_like_reference(device::unpack_tokens_kernel(),
                              {Op::k_unpack_tokens,
                               {random.tensor(from, {p.tokens, width}), p.outputs[3], p.outputs[0], p.outputs[1]},
                               {{"shape", ir::to_shape({5, 33})},
                                {"column", column},
                                {"to", std::string(dtype_name(to))}}},
                              {});
      }
    }
  }
}

TEST(CudaTokens, UnpackTakesColumnsApart) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const auto& [from, to] : {std::pair{DType::kF16, DType::kF32}, {DType::kBF16, DType::kF32}, {DType::kF32, DType::kF32}}) {
    for (const int64_t columns : {2, 3, 8}) {
      for (const int64_t column : {0, 1}) {
        SCOPED_TRACE(fmt::format("{} columns from {}, {} to {}", columns, column, dtype_name(from), dtype_name(to)));
        const TokenPacking p = token_packing(random, 5, 33, random.chance(0.5));
        expect_like_reference(device::unpack_tokens_kernel(),
                              {Op::k_unpack_tokens,
                               {random.tensor(from, {p.tokens, column + columns}), p.outputs[3], p.outputs[0], p.outputs[1]},
                               {{"shape", ir::to_shape({5, 33})},
                                {"column", column},
                                {"columns", columns},
                                {"to", std::string(dtype_name(to))}}},
                              {});
      }
    }
  }
}

TEST(CudaTokens, SegmentReduce) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kRowTypes) {
    for (const char* kind : {"sum", "mean", "max"}) {
      for (const int64_t width : {5, 32, 768}) {
        SCOPED_TRACE(fmt::format("{} {} of {}", kind, width, dtype_name(dtype)));
        const TokenPacking p = token_packing(random, 7, 129, false);
        const Tensor x = random.tensor(dtype, {p.tokens, width});
        expect_like_reference(device::reduce_kernel(),
                              {Op::k_segment_reduce, {x, p.outputs[1], p.outputs[2]}, {{"kind", std::string(kind)}}},
                              allowed_for(dtype) * 4);
      }
    }
  }
}

}  // namespace
}  // namespace tenon::test
