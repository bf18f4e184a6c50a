// Ops that choose, scatter and count: against loops written out, or against what undoes them.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <set>

#include "tests/ops/index.h"
#include "tests/ops/run_op.h"

namespace tenon::ops {
namespace {

using namespace test;  // NOLINT
using ir::Op;

TEST(TopK, OrderedAndTheFirstOfEqualsFirst) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 40; ++round) {
    const int64_t n = random.integer(1, 9), k = random.integer(0, n);
    const bool largest = random.chance(0.5);
    const DType dtype = random.pick(std::vector<DType>{DType::kF32, DType::kF16, DType::kI64, DType::kU8});
    const Tensor x = random.tensor(dtype, {2, n, 3}, 0, 4);
    const auto y =
        run_op(Op::k_top_k, {x}, {{"k", ir::to_shape({k})}, {"axis", int64_t{1}}, {"largest", int64_t{largest}}});
    ASSERT_TRUE(y.ok()) << y.status().message();
    for (int64_t o = 0; o < 2; ++o) {
      for (int64_t i = 0; i < 3; ++i) {
        std::vector<int64_t> order(static_cast<size_t>(n));
        std::iota(order.begin(), order.end(), 0);
        const auto at = [&](int64_t j) { return x.at((o * n + j) * 3 + i); };
        std::stable_sort(order.begin(), order.end(),
                         [&](int64_t a, int64_t b) { return largest ? at(a) > at(b) : at(a) < at(b); });
        for (int64_t j = 0; j < k; ++j) {
          const int64_t place = (o * k + j) * 3 + i;
          EXPECT_EQ((*y)[1].int_at(place), order[static_cast<size_t>(j)]);
          EXPECT_EQ((*y)[0].at(place), at(order[static_cast<size_t>(j)]));
        }
      }
    }
  }
  EXPECT_THAT(inferred("%x: f32[3]", "top_k(%x) {k = dims[4]}"), testing::HasSubstr("greatest of"));
  const Tensor nans = f32({4}, {1, kNan, 3, kNan});
  EXPECT_THAT(integers_of((*run_op(Op::k_top_k, {nans}, {{"k", ir::to_shape({4})}}))[1]),
              testing::ElementsAre(1, 3, 2, 0));
}

TEST(ScatterElements, AsTheLoopForAnyReduction) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 40; ++round) {
    const int64_t rows = random.integer(1, 5), columns = random.integer(1, 6), wide = random.integer(1, 4);
    const std::string reduction = random.pick(std::vector<std::string>{"none", "add", "mul", "min", "max"});
    const Tensor data = random.tensor(DType::kF64, {rows, columns}), updates = random.tensor(DType::kF64, {rows, wide});
    const Tensor indices =
        random.tensor(DType::kI64, {rows, wide}, static_cast<double>(-columns), static_cast<double>(columns - 1));
    const Tensor y = output_of(
        run_op(Op::k_scatter_elements, {data, indices, updates}, {{"axis", int64_t{-1}}, {"reduction", reduction}}));
    std::vector<double> want;
    for (int64_t i = 0; i < data.numel(); ++i) want.push_back(data.at(i));
    for (int64_t i = 0; i < rows * wide; ++i) {
      const int64_t index = indices.int_at(i), column = index < 0 ? index + columns : index;
      double& at = want[static_cast<size_t>(i / wide * columns + column)];
      const double u = updates.at(i);
      at = reduction == "none"  ? u
           : reduction == "add" ? at + u
           : reduction == "mul" ? at * u
           : reduction == "min" ? std::min(at, u)
                                : std::max(at, u);
    }
    EXPECT_TRUE(close(y, values(DType::kF64, {rows, columns}, want))) << reduction;
    // Whole rows by tuples of one index.
    const Tensor tuples = random.tensor(DType::kI64, {wide, 1}, 0, static_cast<double>(rows - 1)),
                 rows_of = random.tensor(DType::kF64, {wide, columns});
    const Tensor z = output_of(run_op(Op::k_scatter_nd, {data, tuples, rows_of}, {{"reduction", std::string("add")}}));
    const Tensor sums = tensor_of(DType::kF64, {rows, columns}, [&](const Index& at) {
      double sum = data.at(flat(at, data.shape()));
      for (int64_t t = 0; t < wide; ++t)
        if (tuples.int_at(t) == at[0]) sum += rows_of.at(t * columns + at[1]);
      return sum;
    });
    EXPECT_TRUE(close(z, sums));
  }
  EXPECT_FALSE(run_op(Op::k_scatter_elements, {f32({2}, {0, 0}), i64({1}, {2}), f32({1}, {1})}).ok());
}

TEST(Unique, ItsOutputsRebuildTheInput) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 40; ++round) {
    const bool by_axis = random.chance(0.5), sorted = random.chance(0.5);
    const int64_t n = random.integer(0, 7), width = random.integer(1, 2);
    const Tensor x =
        random.tensor(random.pick(std::vector<DType>{DType::kF32, DType::kI64, DType::kBool}), {n, width}, 0, 2);
    ir::Attrs attrs{{"sorted", int64_t{sorted}}};
    if (by_axis) attrs.set("axis", std::vector<int64_t>{0});
    const auto result = run_op(Op::k_unique, {x}, attrs);
    ASSERT_TRUE(result.ok()) << result.status().message();
    const Tensor &y = (*result)[0], &indices = (*result)[1], &inverse = (*result)[2], &counts = (*result)[3];
    const int64_t count = (*result)[4].int_at(0), block = by_axis ? width : 1;
    std::vector<int64_t> found(static_cast<size_t>(count), 0);
    for (int64_t i = 0; i < inverse.numel(); ++i) {
      const int64_t group = inverse.int_at(i);
      ASSERT_LT(group, count);
      ++found[static_cast<size_t>(group)];
      for (int64_t k = 0; k < block; ++k) EXPECT_EQ(y.at(group * block + k), x.at(i * block + k));
    }
    for (int64_t g = 0; g < count; ++g) {
      EXPECT_EQ(counts.int_at(g), found[static_cast<size_t>(g)]);
      EXPECT_EQ(inverse.int_at(indices.int_at(g)), g);
      if (g == 0) continue;
      const bool rises = sorted ? block > 1 || y.at(g - 1) < y.at(g) : indices.int_at(g - 1) < indices.int_at(g);
      EXPECT_TRUE(rises) << g;
    }
  }
}

TEST(Nonzero, FindsWhatTheLoopFinds) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : {DType::kBool, DType::kF32, DType::kF16, DType::kI8}) {
    const Tensor x = random.tensor(dtype, {3, 4}, 0, 1.9);
    const auto result = run_op(Op::k_nonzero, {x});
    ASSERT_TRUE(result.ok());
    int64_t found = 0;
    for (int64_t i = 0; i < 12; ++i) {
      if (x.at(i) == 0) continue;
      EXPECT_EQ((*result)[0].int_at(found), i / 4);
      EXPECT_EQ((*result)[0].int_at(12 + found), i % 4);
      ++found;
    }
    EXPECT_EQ((*result)[1].int_at(0), found);
  }
}

TEST(ReverseSequence, TwiceIsTheInput) {
  Random random;
  for (const int64_t time : {0, 1}) {
    const Tensor x = random.tensor(DType::kF16, {4, 5, 2});
    const Tensor lengths = time == 0 ? i64({5}, {0, 1, 4, 2, 3}) : i64({4}, {5, 0, 3, 1});
    const Tensor once = output_of(run_op(Op::k_reverse_sequence, {x, lengths}, {{"time_axis", time}}));
    EXPECT_FALSE(once.same_bytes(x));
    EXPECT_TRUE(output_of(run_op(Op::k_reverse_sequence, {once, lengths}, {{"time_axis", time}})).same_bytes(x));
  }
  EXPECT_FALSE(run_op(Op::k_reverse_sequence, {random.tensor(DType::kF32, {2, 2}), i64({2}, {1, 3})}).ok());
}

TEST(Cumprod, AsTheLoop) {
  const Tensor x = f32({4}, {2, 3, 4, 5});
  EXPECT_THAT(integers_of(output_of(run_op(Op::k_cumprod, {x}, {{"axis", int64_t{0}}}))),
              testing::ElementsAre(2, 6, 24, 120));
  EXPECT_THAT(integers_of(output_of(run_op(
                  Op::k_cumprod, {x}, {{"axis", int64_t{0}}, {"exclusive", int64_t{1}}, {"reverse", int64_t{1}}}))),
              testing::ElementsAre(60, 20, 5, 1));
}

TEST(Det, OfAProductIsTheProduct) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const int64_t n : {1, 2, 5, 9}) {
    const Tensor a = random.tensor(DType::kF64, {3, n, n}), b = random.tensor(DType::kF64, {3, n, n});
    const Tensor ab = output_of(run_op(Op::k_matmul, {a, b}));
    const Tensor da = output_of(run_op(Op::k_det, {a})), db = output_of(run_op(Op::k_det, {b})),
                 dab = output_of(run_op(Op::k_det, {ab}));
    for (int64_t i = 0; i < 3; ++i) EXPECT_NEAR(dab.at(i), da.at(i) * db.at(i), 1e-9 * (1 + std::abs(dab.at(i))));
  }
  EXPECT_EQ(output_of(run_op(Op::k_det, {f32({2, 2}, {0, 1, 1, 0})})).at(0), -1);
}

TEST(Matmul, IntegersOfAnyWidthWrap) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType dtype : {DType::kI32, DType::kI64, DType::kU8, DType::kI8}) {
    const Tensor a = random.tensor(dtype, {2, 3, 7}, -100, 100), b = random.tensor(dtype, {7, 5}, -100, 100);
    const Tensor y = output_of(run_op(Op::k_matmul, {a, b}));
    for (int64_t i = 0; i < y.numel(); ++i) {
      int64_t sum = 0;
      for (int64_t k = 0; k < 7; ++k) sum += a.int_at(i / 5 * 7 + k) * b.int_at(k * 5 + i % 5);
      EXPECT_EQ(y.int_at(i), output_of(run_op(Op::k_cast, {i64({1}, {sum})}, {{"to", dtype}})).int_at(0));
    }
  }
}

TEST(Bitwise, AsCDoesAndLongShiftsLeaveNothing) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor a = random.tensor(DType::kU16, {5, 1}, 0, 65535), b = random.tensor(DType::kU16, {3}, 0, 20);
  const auto check = [&](Op op, auto f) {
    const Tensor y = output_of(run_op(op, {a, b}));
    for (int64_t i = 0; i < 15; ++i)
      EXPECT_EQ(y.int_at(i), f(a.int_at(i / 3), b.int_at(i % 3)) & 0xffff) << ir::op_name(op);
  };
  check(Op::k_bit_and, [](int64_t x, int64_t y) { return x & y; });
  check(Op::k_bit_or, [](int64_t x, int64_t y) { return x | y; });
  check(Op::k_bit_xor, [](int64_t x, int64_t y) { return x ^ y; });
  check(Op::k_shift_left, [](int64_t x, int64_t y) { return y < 16 ? x << y : 0; });
  check(Op::k_shift_right, [](int64_t x, int64_t y) { return y < 16 ? x >> y : 0; });
  EXPECT_EQ(output_of(run_op(Op::k_bit_not, {int32s({5})})).int_at(0), ~5);
  EXPECT_EQ(output_of(run_op(Op::k_bit_cast, {f32({1}, {1.0})}, {{"to", DType::kI32}})).int_at(0), 0x3f800000);
  EXPECT_THAT(inferred("%x: f32[1]", "bit_cast(%x) {to = i64}"), testing::HasSubstr("differ in size"));
}

}  // namespace
}  // namespace tenon::ops
