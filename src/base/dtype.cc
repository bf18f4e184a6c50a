#include "base/dtype.h"

#include <array>
#include <cmath>
#include <utility>

namespace tenon {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 23> kNames = {{
    {DType::kF32, "f32"},
    {DType::kF16, "f16"},
    {DType::kBF16, "bf16"},
    {DType::kF64, "f64"},
    {DType::kI8, "i8"},
    {DType::kU8, "u8"},
    {DType::kI16, "i16"},
    {DType::kU16, "u16"},
    {DType::kI32, "i32"},
    {DType::kU32, "u32"},
    {DType::kI64, "i64"},
    {DType::kU64, "u64"},
    {DType::kBool, "bool"},
    {DType::kF8E4M3FN, "f8e4m3fn"},
    {DType::kF8E4M3FNUZ, "f8e4m3fnuz"},
    {DType::kF8E5M2, "f8e5m2"},
    {DType::kF8E5M2FNUZ, "f8e5m2fnuz"},
    {DType::kF8E8M0, "f8e8m0"},
    {DType::kF4E2M1, "f4e2m1"},
    {DType::kI4, "i4"},
    {DType::kU4, "u4"},
    {DType::kI2, "i2"},
    {DType::kU2, "u2"},
}};

// Narrow floats: a sign (but for e8m0), an exponent, a mantissa. `last` is the code of the greatest finite value,
// without sign; codes rise with the values.
struct NarrowFloat {
  int exponent_bits, mantissa_bits, bias;
  uint8_t last, sign, nan, infinity;  // nan, infinity: 0 where the type has none
};

NarrowFloat narrow_float(DType t) {
  switch (t) {
    case DType::kF8E4M3FN:
      return {4, 3, 7, 0x7e, 0x80, 0x7f, 0};
    case DType::kF8E4M3FNUZ:
      return {4, 3, 8, 0x7f, 0x80, 0x80, 0};
    case DType::kF8E5M2:
      return {5, 2, 15, 0x7b, 0x80, 0x7e, 0x7c};
    case DType::kF8E5M2FNUZ:
      return {5, 2, 16, 0x7f, 0x80, 0x80, 0};
    case DType::kF8E8M0:
      return {8, 0, 127, 0xfe, 0, 0xff, 0};
    default:
      return {2, 1, 1, 0x07, 0x08, 0, 0};  // f4e2m1
  }
}

// The value of a code without sign; also of the one behind the last, as if the exponents went on.
double magnitude(const NarrowFloat& f, int code) {
  if (f.sign == 0) return std::ldexp(1.0, code - f.bias);
  const int exponent = code >> f.mantissa_bits, mantissa = code & ((1 << f.mantissa_bits) - 1);
  if (exponent == 0) return std::ldexp(mantissa, 1 - f.bias - f.mantissa_bits);
  return std::ldexp(mantissa + (1 << f.mantissa_bits), exponent - f.bias - f.mantissa_bits);
}

}  // namespace

std::string_view dtype_name(DType t) {
  for (const auto& [type, name] : kNames)
    if (type == t) return name;
  return "?";
}

std::optional<DType> parse_dtype(std::string_view text) {
  for (const auto& [type, name] : kNames)
    if (name == text) return type;
  return std::nullopt;
}

F16::operator float() const {
  const uint32_t sign = (uint32_t{bits} & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float subnormal = static_cast<float>(mantissa) * 0x1p-24f;
  return sign ? -subnormal : subnormal;
}

BF16::BF16(float f) {
  const uint32_t x = std::bit_cast<uint32_t>(f);
  if ((x & 0x7fffffffu) > 0x7f800000u) {
    bits = static_cast<uint16_t>((x >> 16) | 0x40u);
  } else {
    bits = static_cast<uint16_t>((x + 0x7fffu + ((x >> 16) & 1u)) >> 16);
  }
}

float decode_narrow(DType t, uint8_t bits) {
  const NarrowFloat f = narrow_float(t);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  if (f.nan != 0 && bits == f.nan) return kNan;
  const uint8_t code = f.sign == 0 ? bits : static_cast<uint8_t>(bits & (f.sign - 1));
  const float sign = (bits & f.sign) != 0 ? -1.0f : 1.0f;
  if (code <= f.last) return sign * static_cast<float>(magnitude(f, code));
  return f.infinity != 0 && code == f.infinity ? sign * std::numeric_limits<float>::infinity() : kNan;
}

uint8_t encode_narrow(DType t, double value, bool saturate, Rounding rounding) {
  const NarrowFloat f = narrow_float(t);
  if (std::isnan(value)) return f.nan;
  if (f.sign == 0 && value <= 0) return 0;
  const uint8_t sign = std::signbit(value) ? f.sign : uint8_t{0};
  const double m = std::abs(value);
  int code = 0;  // of the greatest value that is at most m
  for (int step = 128; step > 0; step /= 2)
    if (code + step <= f.last && magnitude(f, code + step) <= m) code += step;
  const double low = magnitude(f, code), high = magnitude(f, code + 1), middle = low + (high - low) / 2;
  const bool nearest_is_high = m > middle || (m == middle && (f.sign == 0 || code % 2 != 0));
  if (m > low && (rounding == Rounding::kUp || (rounding == Rounding::kNearestEven && nearest_is_high))) ++code;
  if (code > f.last) {
    if (saturate || f.nan == 0) return static_cast<uint8_t>(sign | f.last);
    return f.infinity != 0 ? static_cast<uint8_t>(sign | f.infinity) : f.nan;
  }
  const bool has_negative_zero = f.nan != f.sign;
  return code == 0 && !has_negative_zero ? uint8_t{0} : static_cast<uint8_t>(sign | code);
}

NarrowRange narrow_range(DType t) {
  switch (t) {
    case DType::kI4:
      return {-8, 7};
    case DType::kU4:
      return {0, 15};
    case DType::kI2:
      return {-2, 1};
    default:
      return {0, 3};
  }
}

}  // namespace tenon
