// References of the elementwise ops: values at chosen points, broadcasting, every element type, and their errors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/index.h"
#include "tests/ops/run_op.h"

namespace tenon::ops {
namespace {

using namespace test;  // NOLINT
using ir::Op;

const std::vector<DType> kFloats = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64};

struct Point {
  Op op;
  double x, y;
  Attrs attrs = {};
};
void PrintTo(const Point& p, std::ostream* out) { *out << ir::op_name(p.op) << "(" << p.x << ")"; }

// Expected values are digits from tables, not calls of the functions under test.
const std::vector<Point> kPoints = {
    {Op::k_neg, 2, -2}, {Op::k_abs, -2.5, 2.5}, {Op::k_sign, -3, -1}, {Op::k_sign, 0, 0}, {Op::k_sign, 0.25, 1},
    {Op::k_exp, 1, 2.718281828459045}, {Op::k_exp, -kInf, 0}, {Op::k_log, 2, 0.6931471805599453}, {Op::k_log, 0, -kInf},
    {Op::k_log, -1, kNan}, {Op::k_sqrt, 2, 1.4142135623730951}, {Op::k_rsqrt, 4, 0.5}, {Op::k_reciprocal, -8, -0.125},
    {Op::k_erf, 0.5, 0.5204998778130465}, {Op::k_erf, -kInf, -1}, {Op::k_sin, 1, 0.8414709848078965}, {Op::k_cos, 1, 0.5403023058681398},
    {Op::k_tanh, 0.5, 0.46211715726000973}, {Op::k_tanh, 100, 1}, {Op::k_sigmoid, 0, 0.5}, {Op::k_sigmoid, 2, 0.8807970779778823},
    {Op::k_sigmoid, -1000, 0}, {Op::k_softplus, 0, 0.6931471805599453}, {Op::k_softplus, 1000, 1000}, {Op::k_softplus, -1000, 0},
    {Op::k_relu, -1, 0}, {Op::k_relu, 1.5, 1.5}, {Op::k_relu, kNan, kNan}, {Op::k_leaky_relu, -2, -0.5, {{"alpha", 0.25}}},
    {Op::k_leaky_relu, 2, 2, {{"alpha", 0.25}}}, {Op::k_gelu, 1, 0.8413447460685429}, {Op::k_gelu, -1, -0.15865525393145707},
    {Op::k_gelu, 1, 0.8411919906082768, {{"approximate", std::string("tanh")}}},
    {Op::k_gelu, 1, 0.8457957659328212, {{"approximate", std::string("sigmoid")}}}, {Op::k_gelu, 0, 0}, {Op::k_silu, 2, 1.7615941559557646},
    {Op::k_floor, -1.5, -2}, {Op::k_ceil, -1.5, -1}, {Op::k_round, 0.5, 0}, {Op::k_round, 1.5, 2}, {Op::k_round, -2.5, -2}};

class Unary : public testing::TestWithParam<Point> {};
TEST_P(Unary, TakesTheValueOfTheTableInEveryFloatType) {
  for (DType dtype : kFloats) {
    const auto y = run_op(GetParam().op, {values(dtype, {1}, {GetParam().x})}, GetParam().attrs);
    ASSERT_TRUE(y.ok()) << y.status().message();
    EXPECT_TRUE(close((*y)[0], values(dtype, {1}, {GetParam().y})));
  }
}
INSTANTIATE_TEST_SUITE_P(Points, Unary, testing::ValuesIn(kPoints));

TEST(Unary, GeluKeepsTheDigitsOfItsLeftTail) {
  const Tensor y = (*run_op(Op::k_gelu, {f32({1}, {-6})}))[0];
  EXPECT_NEAR(y.at(0) / -5.919525e-09, 1, 1e-5);
}

TEST(Unary, IntegersWrap) {
  const Tensor x = values(DType::kI8, {4}, {-128, -1, 0, 127});
  EXPECT_TRUE(close((*run_op(Op::k_neg, {x}))[0], values(DType::kI8, {4}, {-128, 1, 0, -127})));
  EXPECT_TRUE(close((*run_op(Op::k_abs, {x}))[0], values(DType::kI8, {4}, {-128, 1, 0, 127})));
  EXPECT_TRUE(close((*run_op(Op::k_sign, {x}))[0], values(DType::kI8, {4}, {-1, -1, 0, 1})));
  EXPECT_TRUE(close((*run_op(Op::k_relu, {x}))[0], values(DType::kI8, {4}, {0, 0, 0, 127})));
  EXPECT_TRUE(close((*run_op(Op::k_abs, {i64({1}, {INT64_MIN})}))[0], i64({1}, {INT64_MIN})));
}

TEST(Unary, IsNan) {
  for (DType dtype : kFloats) {
    EXPECT_TRUE(close((*run_op(Op::k_is_nan, {values(dtype, {3}, {1, kNan, kInf})}))[0], bools({3}, {0, 1, 0})));
  }
}

TEST(Binary, BroadcastsLikeNumpy) {
  Random random;
  SCOPED_TRACE(random.trace());
  const std::vector<std::pair<Op, double (*)(double, double)>> ops = {
      {Op::k_add, [](double a, double b) { return a + b; }},   {Op::k_sub, [](double a, double b) { return a - b; }},
      {Op::k_mul, [](double a, double b) { return a * b; }},   {Op::k_div, [](double a, double b) { return a / b; }},
      {Op::k_min, [](double a, double b) { return std::fmin(a, b); }}, {Op::k_max, [](double a, double b) { return std::fmax(a, b); }},
      {Op::k_pow, [](double a, double b) { return std::pow(a, b); }}};
  for (int round = 0; round < 60; ++round) {
    std::vector<int64_t> to(static_cast<size_t>(random.integer(0, 4)));
    for (int64_t& d : to) d = random.chance(0.1) ? 0 : random.integer(1, 5);
    std::vector<int64_t> a_shape = to, b_shape(to.begin() + static_cast<std::ptrdiff_t>(random.integer(0, std::ssize(to))), to.end());
    for (int64_t& d : b_shape) d = random.chance(0.4) ? 1 : d;
    if (random.chance(0.5)) std::swap(a_shape, b_shape);
    const auto& [op, f] = random.pick(ops);
    const DType dtype = random.pick(kFloats);
    const Tensor a = random.tensor(dtype, a_shape, 0.5, 2), b = random.tensor(dtype, b_shape, 0.5, 2);
    const auto y = run_op(op, {a, b});
    ASSERT_TRUE(y.ok()) << y.status().message();
    EXPECT_TRUE(close((*y)[0], tensor_of(dtype, to, [&, f = f](const Index& at) { return f(broadcast_at(a, at), broadcast_at(b, at)); })))
        << ir::op_name(op);
  }
}

TEST(Binary, IntegerArithmeticWrapsAndTruncates) {
  const auto run = [](Op op, std::vector<double> a, std::vector<double> b, Attrs attrs = {}) {
    const auto n = std::ssize(a);
    return (*run_op(op, {values(DType::kI8, {n}, a), values(DType::kI8, {n}, b)}, std::move(attrs)))[0];
  };
  const auto i8 = [](std::vector<double> v) { return values(DType::kI8, {std::ssize(v)}, v); };
  EXPECT_TRUE(close(run(Op::k_add, {127, -128}, {1, -1}), i8({-128, 127})));
  EXPECT_TRUE(close(run(Op::k_sub, {-128}, {1}), i8({127})));
  EXPECT_TRUE(close(run(Op::k_mul, {64, -128}, {4, -1}), i8({0, -128})));
  EXPECT_TRUE(close(run(Op::k_div, {7, -7, 7, -7, -128}, {2, 2, -2, -2, -1}), i8({3, -3, -3, 3, -128})));
  EXPECT_TRUE(close(run(Op::k_mod, {7, -7, 7, -7, -128}, {3, 3, -3, -3, -1}), i8({1, 2, -2, -1, 0})));
  EXPECT_TRUE(close(run(Op::k_mod, {7, -7, 7, -7}, {3, 3, -3, -3}, {{"fmod", int64_t{1}}}), i8({1, -1, 1, -1})));
  EXPECT_TRUE(close(run(Op::k_pow, {3, -2, 2, 5, -1, 1}, {4, 3, 7, -1, -3, -9}), i8({81, -8, -128, 0, -1, 1})));
  const Tensor big = i64({2}, {INT64_MAX, INT64_MIN});
  EXPECT_TRUE(close((*run_op(Op::k_add, {big, i64({}, {1})}))[0], i64({2}, {INT64_MIN, INT64_MIN + 1})));
  EXPECT_TRUE(close((*run_op(Op::k_div, {big, i64({}, {-1})}))[0], i64({2}, {-INT64_MAX, INT64_MIN})));
}

TEST(Binary, FloatModTakesTheSignAskedFor) {
  const Tensor a = f32({4}, {5.5, -5.5, 5.5, -5.5}), b = f32({4}, {2, 2, -2, -2});
  EXPECT_TRUE(close((*run_op(Op::k_mod, {a, b}))[0], f32({4}, {1.5, 0.5, -0.5, -1.5})));
  EXPECT_TRUE(close((*run_op(Op::k_mod, {a, b}, {{"fmod", int64_t{1}}}))[0], f32({4}, {1.5, -1.5, 1.5, -1.5})));
}

TEST(Binary, IntegerDivisionByZeroIsRefusedByPosition) {
  for (Op op : {Op::k_div, Op::k_mod}) {
    const auto y = run_op(op, {i64({}, {1}), i64({2, 2}, {1, 2, 3, 0})});
    ASSERT_FALSE(y.ok());
    EXPECT_EQ(y.status().code(), ErrorCode::kBadInput);
    EXPECT_THAT(y.status().message(), testing::HasSubstr("the divisor is 0 at [1,1]"));
  }
  EXPECT_TRUE(close((*run_op(Op::k_div, {f32({2}, {1, 0}), f32({}, {0})}))[0], f32({2}, {kInf, kNan})));
}

TEST(Binary, NanWinsInMinAndMax) {
  const Tensor a = f32({3}, {kNan, 1, 2}), b = f32({3}, {1, kNan, 3});
  EXPECT_TRUE(close((*run_op(Op::k_min, {a, b}))[0], f32({3}, {kNan, kNan, 2})));
  EXPECT_TRUE(close((*run_op(Op::k_max, {a, b}))[0], f32({3}, {kNan, kNan, 3})));
}

TEST(Compare, EveryTypeAndNan) {
  for (DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8, DType::kU16, DType::kI32, DType::kI64}) {
    const Tensor a = values(dtype, {3}, {1, 2, 3}), b = values(dtype, {}, {2});
    EXPECT_TRUE(close((*run_op(Op::k_equal, {a, b}))[0], bools({3}, {0, 1, 0})));
    EXPECT_TRUE(close((*run_op(Op::k_less, {a, b}))[0], bools({3}, {1, 0, 0})));
    EXPECT_TRUE(close((*run_op(Op::k_less_equal, {a, b}))[0], bools({3}, {1, 1, 0})));
    EXPECT_TRUE(close((*run_op(Op::k_greater, {a, b}))[0], bools({3}, {0, 0, 1})));
    EXPECT_TRUE(close((*run_op(Op::k_greater_equal, {a, b}))[0], bools({3}, {0, 1, 1})));
  }
  const Tensor nan = f32({1}, {kNan});
  EXPECT_TRUE(close((*run_op(Op::k_equal, {nan, nan}))[0], bools({1}, {0})));
  EXPECT_TRUE(close((*run_op(Op::k_greater_equal, {nan, nan}))[0], bools({1}, {0})));
}

TEST(Compare, Logic) {
  const Tensor a = bools({4}, {0, 0, 1, 1}), b = bools({4}, {0, 1, 0, 1});
  EXPECT_TRUE(close((*run_op(Op::k_and, {a, b}))[0], bools({4}, {0, 0, 0, 1})));
  EXPECT_TRUE(close((*run_op(Op::k_or, {a, b}))[0], bools({4}, {0, 1, 1, 1})));
  EXPECT_TRUE(close((*run_op(Op::k_xor, {a, b}))[0], bools({4}, {0, 1, 1, 0})));
}

}  // namespace
}  // namespace tenon::ops
