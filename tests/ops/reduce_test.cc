// References of reductions, arg_max and softmax against sums written out here.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/ops/index.h"
#include "tests/ops/run_op.h"

namespace tenon::ops {
namespace {

using namespace test;  // NOLINT
using ir::Op;


// What a list of numbers reduces to.
double expected(Op op, const std::vector<double>& terms) {
  const auto n = static_cast<double>(terms.size());
  double sum = 0, product = 1, squares = 0, greatest = -kInf, least = kInf;
  for (double v : terms) {
    sum += v;
    product *= v;
    squares += v * v;
    greatest = std::max(greatest, v);
    least = std::min(least, v);
  }
  switch (op) {
    case Op::k_reduce_sum: return sum;
    case Op::k_reduce_mean: return sum / n;
    case Op::k_reduce_max: return greatest;
    case Op::k_reduce_min: return least;
    case Op::k_reduce_prod: return product;
    default: return std::sqrt(squares);
  }
}

TEST(Reduce, AnySetOfAxesOfAnyShape) {
  Random random;
  SCOPED_TRACE(random.trace());
  const std::vector<Op> ops = {Op::k_reduce_sum, Op::k_reduce_mean, Op::k_reduce_max, Op::k_reduce_min, Op::k_reduce_prod, Op::k_reduce_l2};
  for (int round = 0; round < 100; ++round) {
    std::vector<int64_t> shape(static_cast<size_t>(random.integer(0, 4))), axes, out, inner;
    for (int64_t& d : shape) d = random.integer(1, 6);
    const bool keepdims = random.chance(0.5);
    for (size_t i = 0; i < shape.size(); ++i) {
      if (random.chance(0.5)) {
        axes.push_back(static_cast<int64_t>(i));
        inner.push_back(shape[i]);
        if (keepdims) out.push_back(1);
      } else {
        out.push_back(shape[i]);
      }
    }
    const Op op = random.pick(ops);
    const DType dtype = random.pick(std::vector<DType>{DType::kF32, DType::kF16, DType::kBF16, DType::kF64});
    const Tensor x = random.tensor(dtype, shape, 0.5, 1.5);
    const auto y = run_op(op, {x}, {{"axes", axes}, {"keepdims", int64_t{keepdims}}});
    ASSERT_TRUE(y.ok()) << y.status().message();
    const Tensor want = tensor_of(dtype, out, [&](const Index& at) {
      std::vector<double> terms;
      tensor_of(DType::kF64, inner, [&](const Index& in) {  // visits every index of the reduced axes
        Index from(shape.size());
        size_t next_out = 0, next_in = 0;
        for (size_t i = 0; i < shape.size(); ++i) {
          const bool reduced = std::ranges::binary_search(axes, static_cast<int64_t>(i));
          from[i] = reduced ? in[next_in++] : at[next_out];
          next_out += !reduced || keepdims;
        }
        terms.push_back(x.at(flat(from, shape)));
        return 0.0;
      });
      return expected(op, terms);
    });
    EXPECT_TRUE(close((*y)[0], want)) << ir::op_name(op);
  }
}

Tensor reduce_all(Op op, const Tensor& x) { return (*run_op(op, {x}, {{"axes", std::vector<int64_t>{0}}, {"keepdims", int64_t{0}}}))[0]; }

TEST(Reduce, IntegersAreExact) {
  const Tensor big = i64({2}, {INT64_MAX - 1, 1});
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_sum, big), i64({}, {INT64_MAX})));
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_max, big), i64({}, {INT64_MAX - 1})));
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_min, i64({2}, {INT64_MIN, 3})), i64({}, {INT64_MIN})));
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_mean, i64({3}, {-1, -2, -5})), i64({}, {-2})));
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_prod, i64({3}, {-2, 3, 7})), i64({}, {-42})));
}

TEST(Reduce, NothingGivesTheNeutralElement) {
  const Tensor none = f32({0}, {});
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_sum, none), f32({}, {0})));
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_prod, none), f32({}, {1})));
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_max, none), f32({}, {-kInf})));
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_mean, none), f32({}, {kNan})));
}

TEST(Reduce, NanWinsInMaxAndMinWhereverItStands) {
  for (const Tensor& x : {f32({3}, {kNan, 1, 2}), f32({3}, {1, kNan, 2}), f32({3}, {1, 2, kNan})}) {
    EXPECT_TRUE(close(reduce_all(Op::k_reduce_max, x), f32({}, {kNan})));
    EXPECT_TRUE(close(reduce_all(Op::k_reduce_min, x), f32({}, {kNan})));
  }
}

// 4096 ones in f16 exceed what f16 counts in steps of one.
TEST(Reduce, HalfTypesAccumulateWide) {
  EXPECT_TRUE(close(reduce_all(Op::k_reduce_sum, values(DType::kF16, {4096}, std::vector<double>(4096, 1))), values(DType::kF16, {}, {4096})));
}

TEST(ArgMax, FirstOrLastOfEquals) {
  const Tensor x = f32({2, 3}, {1, 5, 5, 7, 2, 7});
  EXPECT_TRUE(close((*run_op(Op::k_arg_max, {x}, {{"axis", int64_t{1}}}))[0], i64({2, 1}, {1, 0})));
  EXPECT_TRUE(close((*run_op(Op::k_arg_max, {x}, {{"axis", int64_t{-1}}, {"last", int64_t{1}}, {"keepdims", int64_t{0}}}))[0], i64({2}, {2, 2})));
  EXPECT_TRUE(close((*run_op(Op::k_arg_max, {x}, {{"axis", int64_t{0}}, {"keepdims", int64_t{0}}}))[0], i64({3}, {1, 0, 1})));
}

TEST(Softmax, EveryAxisInEveryFloatType) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64}) {
    for (size_t axis = 0; axis < 3; ++axis) {
      const Tensor x = random.tensor(dtype, {3, 5, 7}, -4, 4);
      const auto probability = [&](const Index& at) {
        Index from = at;
        double sum = 0;
        for (from[axis] = 0; from[axis] < x.shape()[axis]; ++from[axis]) sum += std::exp(x.at(flat(from, x.shape())));
        return std::exp(x.at(flat(at, x.shape()))) / sum;
      };
      const Attrs attrs{{"axis", static_cast<int64_t>(axis)}};
      EXPECT_TRUE(close((*run_op(Op::k_softmax, {x}, attrs))[0], tensor_of(dtype, x.shape(), probability)));
      EXPECT_TRUE(close((*run_op(Op::k_log_softmax, {x}, attrs))[0],
                        tensor_of(dtype, x.shape(), [&](const Index& at) { return std::log(probability(at)); })));
    }
  }
}

TEST(Softmax, LargeScoresDoNotOverflowAndMaskedOnesVanish) {
  EXPECT_TRUE(close((*run_op(Op::k_softmax, {f32({1, 3}, {1e30, 1e30, -kInf})}))[0], f32({1, 3}, {0.5, 0.5, 0})));
  EXPECT_TRUE(close((*run_op(Op::k_log_softmax, {f32({1, 2}, {1000, 1000})}))[0], f32({1, 2}, {-0.6931471805599453, -0.6931471805599453})));
  EXPECT_TRUE(close((*run_op(Op::k_softmax, {f32({1, 2}, {-kInf, -kInf})}))[0], f32({1, 2}, {kNan, kNan})));
}

}  // namespace
}  // namespace tenon::ops
