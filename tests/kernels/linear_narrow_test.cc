// linear with factors of 8 and 16 bits, on every instruction set; those that this machine lacks are named as skipped.
#include "tests/kernels/run_kernel.h"

namespace tenon::test {
namespace {

using kernels::cpu::linear_bf16_kernel;
using kernels::cpu::linear_int8_kernel;
using kernels::cpu::linear_int8_quads_kernel;
using kernels::cpu::linear_kernel;

struct NarrowCase {
  int64_t rows, k, n;
};
const std::vector<NarrowCase> kNarrowCases{
    {1, 1, 1},       {1, 7, 16},     {7, 1, 17},    {8, 33, 48},    {3, 127, 129}, {127, 64, 47}, {129, 96, 96},
    {130, 1027, 33}, {17, 2100, 65}, {33, 256, 64}, {49, 130, 100}, {0, 5, 3},     {35, 0, 33}};

struct Kind {
  const char* factors;
  const CpuKernel& (*kernel)();
};
constexpr Kind kInt8{"int8", linear_int8_kernel}, kInt8Quads{"int8_quads", linear_int8_quads_kernel},
    kBf16{"bf16", linear_bf16_kernel};
constexpr Kind kKinds[] = {kInt8, kInt8Quads, kBf16};

Step step_of(Random& random, const Kind& kind, const NarrowCase& c, const std::string& activation = "",
             bool bias = true, bool residual = true) {
  Step step{Op::k_linear,
            {random.tensor(DType::kF32, {c.rows, c.k}, -1, 1), random.tensor(DType::kF32, {c.k, c.n}, -1, 1),
             std::nullopt, std::nullopt},
            {{"activation", activation}, {"factors", std::string(kind.factors)}},
            {1, 2}};
  if (bias) step.inputs[2] = random.tensor(DType::kF32, {c.n});
  if (residual) step.inputs[3] = random.tensor(DType::kF32, {c.rows, c.n});
  return step;
}

// Sums of integers are exact. Products of bf16 are exact and their sums rounded, unless x stays f32 (instruction sets
// without bf16), which the reference rounds to 8 bits.
Tolerance allowed(const Kind& kind, Isa isa, int64_t k) {
  const double root = std::sqrt(static_cast<double>(k));
  if (kind.kernel != linear_bf16_kernel) return tolerance(DType::kF32) * 4;
  const bool rounds = isa == Isa::kScalar || isa >= Isa::kAvx512Bf16;
  return rounds ? tolerance(DType::kF32) * (8 + 4 * root) : tolerance(DType::kBF16) * (1 + 0.5 * root);
}

// All but weights of 8 bits are bf16: rows are read where they lie if whole tiles of AMX fit their depth.
Step rows_in_bf16(const Kind& kind, Step step) {
  if (kind.kernel != linear_bf16_kernel) return in_bf16(std::move(step), 1);
  step.attrs.set("factors", std::string());
  return in_bf16(std::move(step));
}

class LinearNarrow : public testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    const auto all = available_isas();
    if (std::find(all.begin(), all.end(), isa()) == all.end()) GTEST_SKIP() << "this machine lacks " << isa_name(isa());
  }
  Isa isa() const { return GetParam(); }
  void expect(const Kind& kind, const Step& step) const {
    const auto expected = run_op(step.op, step.inputs, step.attrs);
    ASSERT_TRUE(expected.ok()) << expected.status().message();
    expect_like(*expected, kind.kernel(), step, isa(), allowed(kind, isa(), step.inputs[1]->shape()[0]));
  }
  // Some rows of a step with a residual have the same bits without the others.
  void expect_rows_alone(const Kind& kind, const Step& whole) const {
    const Tensor all = (*run_kernel(kind.kernel(), whole, isa(), 2))[0];
    const int64_t rows = all.shape()[0];
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 1}, {rows - 1, rows}, {3, 12}, {5, 5 + 30}}) {
      Step part = whole;
      part.inputs[0] = rows_of(*whole.inputs[0], begin, end);
      part.inputs[3] = rows_of(*whole.inputs[3], begin, end);
      const Tensor some = (*run_kernel(kind.kernel(), part, isa(), 1))[0];
      EXPECT_TRUE(some.same_bytes(rows_of(all, begin, end))) << kind.factors << ", rows " << begin << " to " << end;
    }
  }
};

TEST_P(LinearNarrow, AgreesWithReferenceAtOddShapes) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Kind& kind : kKinds) {
    for (const NarrowCase& c : kNarrowCases) {
      SCOPED_TRACE(fmt::format("{}, {} x {} x {}", kind.factors, c.rows, c.k, c.n));
      expect(kind, step_of(random, kind, c, "", random.chance(0.5), random.chance(0.5)));
    }
  }
}

TEST_P(LinearNarrow, AgreesWithReferenceForEveryNumberOfRowsOfATile) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Kind& kind : kKinds)
    for (int64_t rows = 1; rows <= 34; ++rows) expect(kind, step_of(random, kind, {rows, 70, 50}));
}

TEST_P(LinearNarrow, AppliesEveryActivationBeforeTheResidual) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Kind& kind : kKinds)
    for (const char* activation : {"relu", "gelu", "gelu_tanh", "gelu_sigmoid", "tanh", "sigmoid", "silu"})
      expect(kind, step_of(random, kind, {9, 40, 50}, activation));
}

TEST_P(LinearNarrow, ManyRowsAreRoundedPieceByPiece) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Kind& kind : kKinds) expect(kind, step_of(random, kind, {1601, 40, 19}));
}

TEST_P(LinearNarrow, ARowIsTheSameAloneAndInAnyBatch) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Kind& kind : kKinds)
    for (const NarrowCase& c : {NarrowCase{37, 70, 50}, NarrowCase{67, 1500, 100}})
      expect_rows_alone(kind, step_of(random, kind, c, "gelu"));
}

TEST_P(LinearNarrow, RowsThatAreNotFiniteSpoilNoOthers) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Kind& kind : kKinds) {
    Step step = step_of(random, kind, {5, 40, 20}, "", true, false);
    const Tensor clean = (*run_kernel(kind.kernel(), step, isa(), 1))[0];
    auto* x = const_cast<float*>(step.inputs[0]->as<float>());
    x[40 + 17] = NAN;
    x[3 * 40 + 39] = INFINITY;
    const Tensor y = (*run_kernel(kind.kernel(), step, isa(), 1))[0];
    for (const int64_t row : {0, 2, 4}) EXPECT_TRUE(rows_of(y, row, row + 1).same_bytes(rows_of(clean, row, row + 1)));
    for (const int64_t row : {1, 3})
      for (int64_t j = 0; j < 20; ++j) EXPECT_FALSE(std::isfinite(y.as<float>()[row * 20 + j])) << kind.factors;
  }
}

// Steps of all rows: x beyond them goes to the ends.
TEST_P(LinearNarrow, RoundsByGivenSteps) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Kind& kind : {kInt8, kInt8Quads}) {
    for (const NarrowCase& c : kNarrowCases) {
      SCOPED_TRACE(fmt::format("{}, {} x {} x {}", kind.factors, c.rows, c.k, c.n));
      Step step = step_of(random, kind, c, "gelu", random.chance(0.5), random.chance(0.5));
      step.attrs.set("x_step", random.real(0.002, 0.01));
      step.attrs.set("x_zero", random.integer(0, 255));
      expect(kind, step);
      const Step narrow = rows_in_bf16(kind, step);
      expect_like(*run_op(narrow.op, narrow.inputs, narrow.attrs), kind.kernel(), narrow, isa(), tolerance(DType::kBF16) * 2);
    }
  }
}

TEST_P(LinearNarrow, GivenStepsSaturate) {
  for (const Kind& kind : {kInt8, kInt8Quads}) {
    Step step{Op::k_linear,
              {floats({4, 2}, {1e30f, -1e30f, INFINITY, -INFINITY, NAN, 0, 1e9f, 3}), floats({2, 1}, {1, 0})},
              {{"factors", std::string(kind.factors)}, {"x_step", 0.5}, {"x_zero", int64_t{100}}},
              {1}};
    expect(kind, step);
    const Tensor y = (*run_kernel(kind.kernel(), step, isa(), 1))[0];
    const float high = y.as<float>()[0], near = kind.kernel == linear_int8_kernel ? 0.01f : 0.7f;  // 1 is 127 of 128 quads
    EXPECT_NEAR(high, 0.5 * 155, near);
    EXPECT_EQ(y.as<float>()[1], high);
    EXPECT_NEAR(y.as<float>()[2], 0.5 * -100, near) << "NaN is the least";
    EXPECT_EQ(y.as<float>()[3], high);
  }
}

TEST_P(LinearNarrow, RowsOfZerosAndTinyNumbersAreZero) {
  Step step{Op::k_linear,
            {floats({3, 2}, {0, 0, 1e-38f, -1e-39f, 1e-31f, 0}), floats({2, 1}, {1, 2}), floats({1}, {7})},
            {{"factors", std::string("int8")}},
            {1}};
  const Tensor y = (*run_kernel(linear_int8_kernel(), step, isa(), 1))[0];
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(y.as<float>()[i], 7.0f);
}

// All factors at their limits: 255 * -127 * k.
TEST_P(LinearNarrow, LargestSumsOfIntegersAreExact) {
  constexpr int64_t kDepth = 60000;
  for (const Kind& kind : {kInt8, kInt8Quads}) {
    Step step{Op::k_linear,
              {filled(DType::kF32, {2, kDepth}, [](int64_t) { return 1.0; }),
               filled(DType::kF32, {kDepth, 17}, [](int64_t i) { return i % 17 % 2 == 0 ? -1.0 : 1.0; })},
              {{"factors", std::string(kind.factors)}},
              {1}};
    expect(kind, step);
  }
}

// Of quads: to the last bit, whatever four products that are added in 16 bits come to.
TEST_P(LinearNarrow, SumsOfTilesOfQuadsAreExact) {
  using kernels::cpu::kPanel;
  const kernels::cpu::DotCode& code = kernels::cpu::vector_code(isa()).int8_quads;
  Random random;
  SCOPED_TRACE(random.trace());
  constexpr int64_t kGroups = 3 * kernels::cpu::kGroupStep, kDepth = 4 * kGroups, kStride = kDepth + 64;
  const int64_t columns = code.panels * kPanel;
  std::vector<uint8_t> a(static_cast<size_t>(code.rows * kStride));
  std::vector<float> weights(static_cast<size_t>(kDepth * columns));
  std::vector<std::byte> packed(
      static_cast<size_t>(kernels::cpu::packed_bytes(kernels::cpu::Factors::kInt8Quads, kDepth, columns)) + 64);
  std::byte* const panels = packed.data() + (64 - reinterpret_cast<uintptr_t>(packed.data()) % 64) % 64;
  std::vector<int32_t> c(static_cast<size_t>(code.rows * columns));
  for (const double equal :
       {0.0, 0.5, 0.9, 1.0}) {  // how many weights have the largest value, and how many of x are 255
    for (uint8_t& v : a) v = static_cast<uint8_t>(random.chance(equal) ? 255 : random.integer(0, 255));
    for (float& w : weights) w = random.chance(equal) ? 1.0f : static_cast<float>(random.real(-1, 1));
    for (int64_t k = 0; k < kDepth; ++k)  // columns of either sign
      for (int64_t j = 1; j < columns; j += 2) weights[static_cast<size_t>(k * columns + j)] *= -1;
    kernels::cpu::pack_narrow(kernels::cpu::Factors::kInt8Quads, weights.data(), kDepth, columns, panels);
    const auto weight = [&](int64_t k, int64_t j) {
      return static_cast<int>(reinterpret_cast<const int8_t*>(
          panels)[(j / kPanel * kGroups + k / 4) * 4 * kPanel + j % kPanel * 4 + k % 4]);
    };
    int most = 0;
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t k = 0; k < kDepth; k += k % 8 == 2 ? 6 : 2) {
        int positive = 0, negative = 0;
        for (const int64_t of : {k, k + 1, k + 4, k + 5}) (weight(of, j) > 0 ? positive : negative) += weight(of, j);
        most = std::max({most, positive, -negative});
      }
    }
    EXPECT_LE(most, 128);
    EXPECT_GE(most, equal == 1.0 ? 128 : 120);
    for (int rows = 1; rows <= code.rows; ++rows) {
      const int count = 1 + rows % code.panels;
      if (code.begin != nullptr) code.begin();
      code.tile({.a = reinterpret_cast<const std::byte*>(a.data()),
                 .a_stride = kStride,
                 .b = panels,
                 .b_panel_stride = kPanel * kDepth,
                 .c = c.data(),
                 .c_stride = count * kPanel,
                 .groups = kGroups,
                 .rows = rows,
                 .panels = count});
      if (code.end != nullptr) code.end();
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t j = 0; j < count * kPanel; ++j) {
          int32_t sum = 0;
          for (int64_t k = 0; k < kDepth; ++k) sum += a[static_cast<size_t>(r * kStride + k)] * weight(k, j);
          ASSERT_EQ(c[static_cast<size_t>(r * count * kPanel + j)], sum) << rows << " rows, " << r << ", " << j;
        }
      }
    }
  }
}

TEST_P(LinearNarrow, RowsOfBf16AgreeWithReference) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Kind& kind : kKinds) {
    const auto run = [&](const NarrowCase& c, const std::string& activation, bool bias, bool residual) {
      SCOPED_TRACE(fmt::format("{}, {} x {} x {} {}", kind.factors, c.rows, c.k, c.n, activation));
      const Step step = rows_in_bf16(kind, step_of(random, kind, c, activation, bias, residual));
      const auto expected = run_op(step.op, step.inputs, step.attrs);
      ASSERT_TRUE(expected.ok()) << expected.status().message();
      expect_like(*expected, kind.kernel(), step, isa(), tolerance(DType::kBF16) * 2);
    };
    for (const NarrowCase& c : kNarrowCases) run(c, "", random.chance(0.5), random.chance(0.5));
    for (int64_t rows = 1; rows <= 34; ++rows) run({rows, 64, 50}, "", true, true);
    for (const char* activation : {"relu", "gelu", "gelu_tanh", "gelu_sigmoid", "tanh", "sigmoid", "silu"})
      run({9, 96, 50}, activation, true, true);
    run({1601, 64, 19}, "", true, true);
  }
}

TEST_P(LinearNarrow, ARowOfBf16IsTheSameAloneAndInAnyBatch) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const Kind& kind : kKinds)
    for (const NarrowCase& c : {NarrowCase{37, 70, 50}, NarrowCase{67, 1504, 100}})
      expect_rows_alone(kind, rows_in_bf16(kind, step_of(random, kind, c, "gelu")));
}

INSTANTIATE_TEST_SUITE_P(, LinearNarrow,
                         testing::Values(Isa::kScalar, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAvx512Vnni,
                                         Isa::kAvx512Bf16, Isa::kAmx),
                         [](const auto& test) { return std::string(isa_name(test.param)); });

TEST(LinearNarrowKernels, RoundingLosesLittle) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const auto& [kind, most] : {std::pair{kInt8, 0.02}, {kInt8Quads, 0.02}, {kBf16, 0.005}}) {
    const Step step = step_of(random, kind, {20, 768, 64}, "", false, false);
    Step exact = step;
    exact.attrs = {{"activation", std::string()}};
    const Tensor y = (*run_kernel(kind.kernel(), step, available_isas().front(), 1))[0];
    const Tensor expected = (*run_kernel(linear_kernel(), exact, available_isas().front(), 1))[0];
    double error = 0, size = 0;
    for (int64_t i = 0; i < y.numel(); ++i) {
      error += std::pow(y.at(i) - expected.at(i), 2);
      size += std::pow(expected.at(i), 2);
    }
    EXPECT_LT(std::sqrt(error / size), most) << kind.factors;
  }
}

TEST(LinearNarrowKernels, DeclineWithAReason) {
  Random random;
  Step step = step_of(random, kInt8, {2, 3, 4});
  EXPECT_EQ(declined(linear_kernel(), step), "factors of 8 bits are asked for");
  EXPECT_EQ(declined(linear_bf16_kernel(), step), "factors of bf16 are not asked for");
  step.constants = {};
  EXPECT_EQ(declined(linear_int8_kernel(), step), "the weight is not constant");
}

}  // namespace
}  // namespace tenon::test
