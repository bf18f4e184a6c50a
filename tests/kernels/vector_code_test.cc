// How exact the elementary functions of the vector code are, for each instruction set, against double.
#include "kernels/cpu/vector_code.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <vector>

namespace tenon::kernels::cpu {
namespace {

struct Accuracy {
  const char* name;
  Function function;
  double (*exact)(double);
  double low, high;
  double absolute;  // largest difference
  double ulps;      // largest difference in units of the last place of the result; 0: not promised
};

double gelu(double x) { return 0.5 * x * std::erfc(-x * M_SQRT1_2); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

const Accuracy kAccuracies[] = {
    {"exp", Function::kExp, std::exp, -86.9, 88.7, INFINITY, 2},
    {"exp of scores", Function::kExp, std::exp, -20, 0, 1e-7, 2},
    {"tanh", Function::kTanh, std::tanh, -12, 12, 3.7e-7, 6.5},
    {"erf", Function::kErf, std::erf, -6, 6, 3.7e-7, 6.5},
    {"sigmoid", Function::kSigmoid, sigmoid, -80, 80, 1.8e-7, 4},
    {"gelu", Function::kGelu, gelu, -8, 8, 1.2e-6, 0},
};

class VectorCodeTest : public testing::TestWithParam<Isa> {};

TEST_P(VectorCodeTest, FunctionsAreAsExactAsDocumented) {
  const VectorCode& code = vector_code(GetParam());
  constexpr int64_t kCount = 200'003;
  std::vector<float> x(kCount), y(kCount);
  for (const Accuracy& a : kAccuracies) {
    for (int64_t i = 0; i < kCount; ++i)
      x[static_cast<size_t>(i)] = static_cast<float>(a.low + (a.high - a.low) * static_cast<double>(i) / (kCount - 1));
    code.apply(a.function, x.data(), nullptr, nullptr, y.data(), kCount);
    double absolute = 0, ulps = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = a.exact(static_cast<double>(x[i])), difference = std::abs(static_cast<double>(y[i]) - exact);
      const auto rounded = static_cast<float>(std::abs(exact));
      absolute = std::max(absolute, difference);
      ulps = std::max(ulps, difference / static_cast<double>(std::nextafter(rounded, INFINITY) - rounded));
    }
    EXPECT_LE(absolute, a.absolute) << a.name;
    EXPECT_TRUE(a.ulps == 0 || ulps <= a.ulps) << a.name << ": " << ulps << " ulps";
    RecordProperty(std::string(a.name) + " ulps", std::to_string(ulps));
  }
}

double widened(uint16_t bf16) { return static_cast<double>(std::bit_cast<float>(uint32_t{bf16} << 16)); }

// Results of 16 bits may be less exact than those of 32, as long as rounding hides it.
TEST_P(VectorCodeTest, GeluOfRoundedResults) {
  constexpr int64_t kCount = 20'011;
  std::vector<float> x(kCount);
  std::vector<uint16_t> y(kCount);
  for (int64_t i = 0; i < kCount; ++i)
    x[static_cast<size_t>(i)] = -100 + 200 * static_cast<float>(i) / static_cast<float>(kCount - 1);
  for (size_t i = 0; i < x.size(); i += 2) x[i] *= 0.06f;
  x.back() = NAN;
  vector_code(GetParam())
      .epilogue(x.data(), kCount, y.data(), kCount, 1, kCount, {.activation = Activation::kGelu, .bf16 = true});
  for (size_t i = 0; i + 1 < x.size(); ++i) {
    const double at = static_cast<double>(x[i]), exact = gelu(at);
    EXPECT_LE(std::abs(widened(y[i]) - exact), 1.5e-5 * std::abs(at) + std::abs(exact) / 256) << at;
  }
  EXPECT_TRUE(std::isnan(widened(y.back())));
}

TEST_P(VectorCodeTest, RoundsSumsToNearestEven) {
  const VectorCode& code = vector_code(GetParam());
  std::vector<float> x;
  for (int i = -35; i < 36; ++i)
    x.push_back(std::ldexp(1.0f + static_cast<float>(i & 7) / 512, i));  // halves of steps too
  x.insert(x.end(), {0.0f, -0.0f, 3e38f, INFINITY, -INFINITY});
  for (size_t count = 1; count <= x.size(); ++count) {
    std::vector<uint16_t> sums(count + 1, 7), wanted(count);
    std::vector<float> scaled(count);
    for (size_t i = 0; i < count; ++i) scaled[i] = x[i] * 0.75f;
    code.round_sums(x.data(), static_cast<int64_t>(count), 0.75f, sums.data());
    code.round(scaled.data(), static_cast<int64_t>(count), wanted.data());
    EXPECT_EQ(sums.back(), 7) << count;  // nothing behind them is written
    sums.pop_back();
    EXPECT_EQ(sums, wanted) << count;
  }
}

TEST_P(VectorCodeTest, ExponentialHasItsLimits) {
  const float x[] = {-INFINITY, -200.0f, -88.0f, 0.0f, 88.7f, 89.0f, INFINITY, NAN};
  float y[8];
  vector_code(GetParam()).apply(Function::kExp, x, nullptr, nullptr, y, 8);
  EXPECT_EQ(y[0], 0.0f);
  EXPECT_EQ(y[1], 0.0f);
  EXPECT_EQ(y[2], 0.0f);
  EXPECT_EQ(y[3], 1.0f);
  EXPECT_TRUE(std::isfinite(y[4]));
  EXPECT_EQ(y[5], INFINITY);
  EXPECT_EQ(y[6], INFINITY);
  EXPECT_TRUE(std::isnan(y[7]));
}

TEST_P(VectorCodeTest, NanStaysNan) {
  const std::vector<float> x(20, NAN);
  for (const Function f : {Function::kExp, Function::kErf, Function::kTanh, Function::kSigmoid, Function::kGelu,
                           Function::kGeluTanh, Function::kGeluSigmoid, Function::kSilu, Function::kRelu}) {
    std::vector<float> y(20);
    vector_code(GetParam()).apply(f, x.data(), nullptr, nullptr, y.data(), 20);
    for (const float v : y) EXPECT_TRUE(std::isnan(v)) << static_cast<int>(f);
  }
}

TEST_P(VectorCodeTest, TransposesAnyNumberOfRows) {
  std::vector<float> x(16 * 41);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  for (const int width : {8, 16}) {
    for (int rows = 1; rows <= width; ++rows) {
      for (const int64_t k : {1, 4, 41}) {
        std::vector<float> out(static_cast<size_t>(k * width), -1.0f);
        vector_code(GetParam()).transpose_rows(x.data(), 41, rows, k, width, out.data());
        for (int64_t i = 0; i < k; ++i)
          for (int r = 0; r < width; ++r)
            ASSERT_EQ(out[static_cast<size_t>(i * width + r)], x[static_cast<size_t>(std::min(r, rows - 1) * 41 + i)]);
      }
    }
  }
}

TEST_P(VectorCodeTest, MasksAndIdsOfAnyLength) {
  const VectorCode& code = vector_code(GetParam());
  for (size_t count = 0; count < 40; ++count) {
    const auto n = static_cast<int64_t>(count);
    std::vector<int64_t> mask(count);
    for (size_t i = 0; i < count; ++i) mask[i] = i % 3 == 1 ? 1 : 0;
    EXPECT_EQ(code.count_ones(mask.data(), n), (n + 1) / 3);
    std::vector<int32_t> rows(count + 1, -7);
    code.iota(-3, n, rows.data());
    for (size_t i = 0; i < count; ++i) EXPECT_EQ(rows[i], static_cast<int32_t>(i) - 3);
    EXPECT_EQ(rows[count], -7) << "behind the end";
    EXPECT_EQ(code.run_length(rows.data(), n), n);
    EXPECT_TRUE(code.ids_within(mask.data(), true, n, 2));
    EXPECT_EQ(code.ids_within(mask.data(), true, n, 0), n == 0);
    for (size_t i = 0; i < count; ++i) {
      const int64_t id = mask[i];
      for (const int64_t wrong : {int64_t{-1}, int64_t{2}, INT64_MIN, INT64_MAX, int64_t{1} << 32}) {
        mask[i] = wrong;
        EXPECT_EQ(code.count_ones(mask.data(), n), -1);
        EXPECT_FALSE(code.ids_within(mask.data(), true, n, 2));
      }
      mask[i] = id;
      if (i == 0) continue;
      rows[i] += 1;
      EXPECT_EQ(code.run_length(rows.data(), n), static_cast<int64_t>(i));
      rows[i] -= 1;
    }
    const std::vector<int32_t> largest(count, INT32_MAX);
    EXPECT_TRUE(code.ids_within(largest.data(), false, n, int64_t{1} << 31));
    EXPECT_EQ(code.ids_within(largest.data(), false, n, INT32_MAX), n == 0);
  }
}

TEST_P(VectorCodeTest, QuadsNeverTakeWiderFactors) {
  const VectorCode& code = kernels::cpu::vector_code(GetParam());
  EXPECT_EQ(kernels::cpu::lacks_vnni(GetParam()), code.int8.wide);
  EXPECT_FALSE(code.int8_quads.wide);
}

INSTANTIATE_TEST_SUITE_P(, VectorCodeTest, testing::ValuesIn(available_isas().begin(), available_isas().end()),
                         [](const auto& test) { return std::string(isa_name(test.param)); });

}  // namespace
}  // namespace tenon::kernels::cpu
