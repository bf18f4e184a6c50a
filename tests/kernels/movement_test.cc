#include <limits>
#include <numeric>

#include "tests/kernels/run_kernel.h"

namespace tenon::test {
namespace {

using kernels::cpu::expand_kernel;
using kernels::cpu::gather_kernel;
using kernels::cpu::transpose_kernel;

const std::vector<DType> kWidths{DType::kU8, DType::kF16, DType::kF32, DType::kI64};

TEST(GatherKernel, AgreesWithReferenceOnEveryAxis) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : kWidths) {
    for (int64_t axis = -3; axis < 3; ++axis) {
      const Tensor x = random.tensor(dtype, {5, 6, 7});
      const auto size = static_cast<double>(x.shape()[static_cast<size_t>(axis < 0 ? axis + 3 : axis)]);
      for (const DType ids : {DType::kI32, DType::kI64})
        expect_like_reference(gather_kernel(),
                              {Op::k_gather, {x, random.tensor(ids, {2, 3}, -size, size - 1)}, {{"axis", axis}}}, {});
    }
  }
}

// As rotary embeddings swap the halves of heads.
TEST(GatherKernel, MovesNeighboursOfEveryRow) {
  Random random;
  SCOPED_TRACE(random.trace());
  std::vector<int64_t> swapped;
  for (const int64_t head : {0, 1, 2})
    for (int64_t i = 0; i < 16; ++i) swapped.push_back(head * 16 + (i + 8) % 16);
  swapped[40] = -1;
  for (const DType dtype : kWidths)
    expect_like_reference(
        gather_kernel(),
        {Op::k_gather, {random.tensor(dtype, {7, 300, 50}), Tensor::ints(swapped)}, {{"axis", int64_t{2}}}}, {});
  expect_like_reference(
      gather_kernel(),
      {Op::k_gather, {random.tensor(DType::kF32, {0, 50}), Tensor::ints(swapped)}, {{"axis", int64_t{1}}}}, {});
  swapped[3] = 50;
  expect_same_error(
      gather_kernel(),
      {Op::k_gather, {random.tensor(DType::kF32, {7, 50}), Tensor::ints(swapped)}, {{"axis", int64_t{1}}}});
}

TEST(GatherKernel, NamesTheIndexThatIsOutOfRange) {
  Random random;
  const Tensor x = random.tensor(DType::kF32, {5, 2});
  for (const int32_t wrong : {5, -6}) expect_same_error(gather_kernel(), {Op::k_gather, {x, int32s({0, wrong, 1})}});
}

// Runs of rising indices are moved whole: they may not leave the table, nor come round to it through the least number.
TEST(GatherKernel, RefusesRunsThatLeaveTheTable) {
  Random random;
  const Tensor x = random.tensor(DType::kF32, {80});
  for (const int64_t first : {int64_t{40}, int64_t{80}, int64_t{std::numeric_limits<int32_t>::max()} - 20}) {
    std::vector<int32_t> rising;
    for (int64_t i = 0; i < 65; ++i) rising.push_back(static_cast<int32_t>(static_cast<uint32_t>(first + i)));
    expect_same_error(gather_kernel(), {Op::k_gather, {x, Tensor::from(DType::kI32, {65}, rising)}});
  }
}

TEST(TransposeKernel, AgreesWithReferenceOnEveryPermutation) {
  Random random;
  SCOPED_TRACE(random.trace());
  std::vector<int64_t> perm{0, 1, 2, 3};
  do {
    const DType dtype = random.pick(kWidths);
    SCOPED_TRACE(fmt::format("{} {},{},{},{}", dtype_name(dtype), perm[0], perm[1], perm[2], perm[3]));
    expect_like_reference(transpose_kernel(),
                          {Op::k_transpose, {random.tensor(dtype, {3, 1, 17, 20})}, {{"perm", perm}}}, {});
  } while (std::next_permutation(perm.begin(), perm.end()));
}

TEST(ExpandKernel, AgreesWithReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Shape target = ir::to_shape({4, 3, 5, 6});
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{}, {6}, {5, 1}, {3, 1, 6}, {4, 1, 1, 1}, {4, 3, 5, 6}})
    expect_like_reference(expand_kernel(),
                          {Op::k_expand, {random.tensor(random.pick(kWidths), shape)}, {{"shape", target}}}, {});
}

}  // namespace
}  // namespace tenon::test
