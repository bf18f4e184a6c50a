#include <cmath>

#include "ops/matrix_product.h"
#include "tests/ops/run_op.h"

namespace tenon::test {
namespace {

double naive_activation(const std::string& name, double x) {
  if (name == "relu") return std::max(x, 0.0);
  if (name == "gelu") return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
  if (name == "gelu_tanh") return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  if (name == "gelu_sigmoid") return x / (1 + std::exp(-1.702 * x));
  if (name == "tanh") return std::tanh(x);
  if (name == "sigmoid") return 1 / (1 + std::exp(-x));
  if (name == "silu") return x / (1 + std::exp(-x));
  return x;
}

// Element [row, column] of a product of matrices that begin at a_at and b_at.
double dot(const Tensor& a, int64_t a_at, const Tensor& b, int64_t b_at, int64_t row, int64_t column, int64_t k, int64_t n) {
  double sum = 0;
  for (int64_t p = 0; p < k; ++p) sum += a.at(a_at + row * k + p) * b.at(b_at + p * n + column);
  return sum;
}

TEST(MatrixProduct, MatchesTheTextbookLoopForAllTileRemainders) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (int round = 0; round < 20; ++round) {
    const int64_t m = random.integer(0, 9), n = random.integer(0, 20), k = random.pick<int64_t>({0, 1, 3, 256, 257, 600});
    const Tensor a = random.tensor(DType::kF64, {m, k}), b = random.tensor(DType::kF64, {k, n});
    std::vector<double> c(static_cast<size_t>(m * n), NAN);
    ops::matrix_product(m, n, k, a.as<double>(), k, b.as<double>(), n, c.data(), n);
    const Tensor expected = filled(DType::kF64, {m, n}, [&](int64_t i) { return dot(a, 0, b, 0, i / n, i % n, k, n); });
    EXPECT_TRUE(close(Tensor::from(DType::kF64, {m, n}, c), expected, tolerance(DType::kF64) * 50)) << m << " " << n << " " << k;
  }
}

TEST(Matmul, MatchesTheTextbookLoopForEveryDtype) {
  Random random;
  SCOPED_TRACE(random.trace());
  ThreadPool pool(2);
  for (const DType t : kFloatTypes) {
    const int64_t m = random.integer(1, 9), n = random.integer(1, 130), k = random.integer(1, 50);
    const Tensor a = random.tensor(t, {2, 3, m, k}, -1, 1), b = random.tensor(t, {3, k, n}, -1, 1);
    const Tensor y = output_of(run_op(Op::k_matmul, {a, b}, {}, &pool));
    const Tensor expected = filled(t, {2, 3, m, n}, [&](int64_t i) {
      const int64_t batch = i / (m * n);
      return dot(a, batch * m * k, b, batch % 3 * k * n, i / n % m, i % n, k, n);
    });
    EXPECT_TRUE(close(y, expected, tolerance(t) * 8));
  }
}

TEST(Matmul, BroadcastsBothWays) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor a = random.tensor(DType::kF64, {2, 1, 4, 5}), b = random.tensor(DType::kF64, {3, 5, 6});
  const Tensor y = output_of(run_op(Op::k_matmul, {a, b}));
  const Tensor expected = filled(DType::kF64, {2, 3, 4, 6}, [&](int64_t i) {
    const int64_t batch = i / 24;
    return dot(a, batch / 3 * 20, b, batch % 3 * 30, i / 6 % 4, i % 6, 5, 6);
  });
  EXPECT_TRUE(close(y, expected));
}

TEST(Matmul, TakesVectorsAsRowAndColumn) {
  const Tensor matrix = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_TRUE(close(output_of(run_op(Op::k_matmul, {floats({2}, {1, 10}), matrix})), floats({3}, {41, 52, 63})));
  EXPECT_TRUE(close(output_of(run_op(Op::k_matmul, {matrix, floats({3}, {1, 10, 100})})), floats({2}, {321, 654})));
  EXPECT_TRUE(close(output_of(run_op(Op::k_matmul, {floats({2}, {1, 2}), floats({2}, {3, 4})})), floats({}, {11})));
}

TEST(Matmul, SumOverNothingIsZero) {
  EXPECT_TRUE(close(output_of(run_op(Op::k_matmul, {floats({2, 0}, {}), floats({0, 2}, {})})), floats({2, 2}, {0, 0, 0, 0})));
}

TEST(Matmul, InfersSymbolicShapes) {
  EXPECT_EQ(inferred("%a: f32[b,h,s,d], %b: f32[b,h,d,t]", "matmul(%a, %b)"), "f32[b,h,s,t]");
  EXPECT_EQ(inferred("%a: f32[b,s,8], %b: f32[8,4]", "matmul(%a, %b)"), "f32[b,s,4]");
  EXPECT_EQ(inferred("%a: f32[8], %b: f32[n,8,4]", "matmul(%a, %b)"), "f32[n,4]");
  EXPECT_EQ(inferred("%a: f32[n,3,8], %b: f32[8]", "matmul(%a, %b)"), "f32[n,3]");
}

TEST(Matmul, RefusesWhatItCannotMultiply) {
  EXPECT_THAT(inferred("%a: f32[n,8], %b: f32[7,4]", "matmul(%a, %b)"), testing::HasSubstr("summed axis: sizes 8 and 7"));
  EXPECT_THAT(inferred("%a: f32[], %b: f32[7,4]", "matmul(%a, %b)"), testing::HasSubstr("scalar"));
  EXPECT_THAT(inferred("%a: bool[n,8], %b: bool[8,4]", "matmul(%a, %b)"), testing::HasSubstr("numeric"));
  EXPECT_THAT(inferred("%a: f32[n,8], %b: f16[8,4]", "matmul(%a, %b)"), testing::HasSubstr("different types"));
}

TEST(Linear, MatchesItsDefinitionForEveryDtypeActivationAndOptionalInput) {
  Random random;
  SCOPED_TRACE(random.trace());
  ThreadPool pool(2);
  for (const DType t : kFloatTypes) {
    for (const std::string activation : {"", "relu", "gelu", "gelu_tanh", "gelu_sigmoid", "tanh", "sigmoid", "silu"}) {
      const int64_t rows = random.integer(1, 7), k = random.integer(1, 40), n = random.integer(1, 130);
      const Tensor x = random.tensor(t, {rows, 2, k}, -1, 1), w = random.tensor(t, {k, n}, -1, 1);
      const Given bias = random.chance(0.5) ? Given(random.tensor(t, {n})) : Given();
      const Given residual = random.chance(0.5) ? Given(random.tensor(t, {rows, 2, n})) : Given();
      const Tensor y = output_of(run_op(Op::k_linear, {x, w, bias, residual}, {{"activation", activation}}, &pool));
      const Tensor expected = filled(t, {rows, 2, n}, [&](int64_t i) {
        const double sum = dot(x, 0, w, 0, i / n, i % n, k, n) + (bias ? bias->at(i % n) : 0);
        return naive_activation(activation, sum) + (residual ? residual->at(i) : 0);
      });
      EXPECT_TRUE(close(y, expected, tolerance(t) * 8)) << activation;
    }
  }
}

TEST(Linear, DoesNotDependOnTheNumberOfThreads) {
  Random random;
  SCOPED_TRACE(random.trace());
  const Tensor x = random.tensor(DType::kF32, {5, 300}), w = random.tensor(DType::kF32, {300, 200});
  ThreadPool pool(3);
  const Attrs attrs{{"activation", std::string("gelu")}};
  const Tensor one = output_of(run_op(Op::k_linear, {x, w}, attrs)), many = output_of(run_op(Op::k_linear, {x, w}, attrs, &pool));
  EXPECT_TRUE(one.same_bytes(many));
}

TEST(Linear, InfersSymbolicShapesAndRefusesMisfits) {
  EXPECT_EQ(inferred("%x: f32[batch,seq,8], %w: f32[8,4], %b: f32[4]", "linear(%x, %w, %b)"), "f32[batch,seq,4]");
  EXPECT_EQ(inferred("%x: f32[t,8], %w: f32[8,4], %r: f32[t,4]", "linear(%x, %w, _, %r) {activation = \"gelu\"}"), "f32[t,4]");
  EXPECT_THAT(inferred("%x: f32[t,8], %w: f32[8,4]", "linear(%x, %w) {activation = \"swish\"}"), testing::HasSubstr("'swish'"));
  EXPECT_THAT(inferred("%x: f32[t,8], %w: f32[4,8]", "linear(%x, %w)"), testing::HasSubstr("summed axis"));
  EXPECT_THAT(inferred("%x: f32[t,8], %w: f32[8,4], %b: f32[3]", "linear(%x, %w, %b)"), testing::HasSubstr("input 2, axis 0"));
}

TEST(Products, CountTheirOperations) {
  const std::vector<int64_t> x{6, 8}, w{8, 4}, y{6, 4};
  const std::vector<ops::TensorArg> in{{DType::kF32, x}, {DType::kF32, w}}, out{{DType::kF32, y}};
  EXPECT_EQ(ops::op_def(Op::k_matmul).flops({}, in, out), 2.0 * 6 * 8 * 4);
  EXPECT_EQ(ops::op_def(Op::k_linear).flops({{"activation", std::string()}}, in, out), 2.0 * 6 * 8 * 4);
}

}  // namespace
}  // namespace tenon::test
