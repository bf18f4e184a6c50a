// Types of 8 bits and less: every code, and every number between two of them.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/ops/index.h"
#include "tests/ops/run_op.h"

namespace tenon::ops {
namespace {

using namespace test;  // NOLINT
using ir::Op;

const std::vector<DType> kNarrowFloats{DType::kF8E4M3FN,   DType::kF8E4M3FNUZ, DType::kF8E5M2,
                                       DType::kF8E5M2FNUZ, DType::kF8E8M0,     DType::kF4E2M1};

int codes_of(DType t) { return t == DType::kF4E2M1 ? 16 : 256; }

TEST(NarrowFloats, GreatestValuesAndSpecialOnes) {
  // OCP 8-bit floating point (E4M3, E5M2), their FNUZ twins, OCP microscaling formats (E8M0, E2M1).
  const std::map<DType, double> greatest{{DType::kF8E4M3FN, 448},   {DType::kF8E4M3FNUZ, 240},
                                         {DType::kF8E5M2, 57344},   {DType::kF8E5M2FNUZ, 57344},
                                         {DType::kF8E8M0, 0x1p127}, {DType::kF4E2M1, 6}};
  for (const auto& [t, most] : greatest) {
    EXPECT_EQ(decode_narrow(t, encode_narrow(t, 1e300)), static_cast<float>(most)) << dtype_name(t);
    EXPECT_EQ(std::isnan(decode_narrow(t, encode_narrow(t, kNan))), t != DType::kF4E2M1) << dtype_name(t);
    EXPECT_EQ(decode_narrow(t, encode_narrow(t, 1)), 1.0f) << dtype_name(t);
  }
  EXPECT_TRUE(std::isinf(decode_narrow(DType::kF8E5M2, encode_narrow(DType::kF8E5M2, 1e9, false))));
  EXPECT_TRUE(std::isnan(decode_narrow(DType::kF8E4M3FN, encode_narrow(DType::kF8E4M3FN, 1e9, false))));
  EXPECT_EQ(decode_narrow(DType::kF8E4M3FN, encode_narrow(DType::kF8E4M3FN, 463, false)),
            448);  // rounds back into range
  EXPECT_EQ(encode_narrow(DType::kF8E4M3FNUZ, -0.0), 0);
}

TEST(NarrowFloats, EveryCodeSurvivesAndEveryNumberGoesToTheNearest) {
  Random random;
  SCOPED_TRACE(random.trace());
  for (const DType t : kNarrowFloats) {
    std::vector<double> all;
    for (int code = 0; code < codes_of(t); ++code) {
      const float v = decode_narrow(t, static_cast<uint8_t>(code));
      if (std::isfinite(v)) {
        all.push_back(v);
        EXPECT_EQ(decode_narrow(t, encode_narrow(t, v)), v) << dtype_name(t) << " " << code;
      }
    }
    for (int round = 0; round < 500; ++round) {
      const double x =
          std::ldexp(random.real(t == DType::kF8E8M0 ? 0.1 : -1, 1), static_cast<int>(random.integer(-12, 9)));
      double best = kInf;
      for (const double v : all) best = std::min(best, std::abs(v - x));
      EXPECT_EQ(std::abs(decode_narrow(t, encode_narrow(t, x)) - x), best) << dtype_name(t) << " " << x;
      const double up = decode_narrow(t, encode_narrow(t, x, true, Rounding::kUp)),
                   down = decode_narrow(t, encode_narrow(t, x, true, Rounding::kDown));
      EXPECT_LE(std::abs(down), std::abs(x)) << dtype_name(t);
      const double most = decode_narrow(t, encode_narrow(t, 1e300));
      EXPECT_GE(std::abs(up), std::min(std::abs(x), most)) << dtype_name(t);
    }
  }
}

TEST(Cast, NarrowTypesFromAndToAllOthers) {
  Random random;
  SCOPED_TRACE(random.trace());
  const std::vector<DType> wide{DType::kF32, DType::kF16, DType::kBF16, DType::kF64,
                                DType::kI8,  DType::kI32, DType::kI64,  DType::kBool};
  for (const DType t :
       {DType::kI4, DType::kU4, DType::kI2, DType::kU2, DType::kF8E4M3FN, DType::kF8E5M2, DType::kF4E2M1}) {
    for (const DType from : wide) {
      const Tensor x = random.tensor(from, {300}, 0, 1.99);
      const Tensor narrow = output_of(run_op(Op::k_cast, {x}, {{"to", t}}));
      for (const DType to : wide) {
        const Tensor y = output_of(run_op(Op::k_cast, {narrow}, {{"to", to}}));
        for (int64_t i = 0; i < 300; ++i) {
          const double kept = narrow.at(i);
          EXPECT_EQ(y.at(i), to == DType::kBool ? kept != 0
                             : is_float(to)     ? kept
                                                : std::trunc(kept))
              << dtype_name(t) << " to " << dtype_name(to);
        }
      }
    }
  }
  const Tensor wrapped = output_of(run_op(Op::k_cast, {int32s({-9, 8, 17, -1})}, {{"to", DType::kI4}}));
  EXPECT_THAT(integers_of(wrapped), testing::ElementsAre(7, -8, 1, -1));
}

TEST(NarrowTypes, AreMovedButNotComputedWith) {
  EXPECT_EQ(inferred("%x: f8e4m3fn[2,3]", "transpose(%x) {perm = [1, 0]}"), "f8e4m3fn[3,2]");
  EXPECT_THAT(inferred("%a: i4[2], %b: i4[2]", "add(%a, %b)"), testing::HasSubstr("numeric"));
  EXPECT_THAT(inferred("%a: f8e5m2[2], %b: f8e5m2[2]", "matmul(%a, %b)"), testing::HasSubstr("numeric"));
}

}  // namespace
}  // namespace tenon::ops
