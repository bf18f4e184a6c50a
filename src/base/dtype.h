// Scalar types of tensors: half-precision conversions and dispatch from DType to a C++ type.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <type_traits>

#include "tenon/types.h"

namespace tenon {

// IEEE binary16, stored only; arithmetic is done in float.
struct F16 {
  uint16_t bits = 0;
  F16() = default;
  explicit F16(float f);
  explicit operator float() const;
};

// The upper half of an IEEE binary32; rounds to nearest even.
struct BF16 {
  uint16_t bits = 0;
  BF16() = default;
  explicit BF16(float f);
  explicit operator float() const { return std::bit_cast<float>(uint32_t{bits} << 16); }
};

// Without branches, so that loops over it become vector code.
inline F16::F16(float f) {
  const auto x = std::bit_cast<uint32_t>(f);
  const auto magnitude = static_cast<int32_t>(x & 0x7fffffffu);
  // Adding 0.5 aligns the bits of a subnormal half where a half has them.
  const int32_t subnormal = std::bit_cast<int32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000;
  const int32_t normal = (magnitude - 0x37fff001 + ((magnitude >> 13) & 1)) >> 13;  // + 0xfff, - 0x38000000: to even
  const int32_t beyond = 0x7c00 | (magnitude > 0x7f800000 ? 0x200 : 0);             // NaN stays quiet
  const int32_t finite = magnitude < 0x38800000 ? subnormal : normal;
  const int32_t rounded = magnitude >= 0x477ff000 ? beyond : finite;  // beyond 65504 and a half step
  bits = static_cast<uint16_t>(((x >> 16) & 0x8000u) | static_cast<uint32_t>(rounded));
}

constexpr bool is_float(DType t) {
  return t == DType::kF32 || t == DType::kF16 || t == DType::kBF16 || t == DType::kF64;
}
constexpr bool is_integer(DType t) { return t >= DType::kI8 && t <= DType::kU64; }
// Storage only: no op computes with them but cast.
constexpr bool is_narrow(DType t) { return t > DType::kBool; }
constexpr bool is_narrow_float(DType t) { return t >= DType::kF8E4M3FN && t <= DType::kF4E2M1; }
inline constexpr DType kLastDType = DType::kU2;
// The largest number that is not infinite; of f16, bf16 and f32.
constexpr double largest_finite(DType t) {
  return t == DType::kF16 ? 0x1.ffcp15 : t == DType::kBF16 ? 0x1.fep127 : std::numeric_limits<float>::max();
}

std::optional<DType> parse_dtype(std::string_view name);

// Calls f.template operator()<T>() with the C++ type of `t`: visit_dtype(t, []<class T>() { … }). Narrow floats are
// uint8_t, their bits.
template <class F>
decltype(auto) visit_dtype(DType t, F&& f) {
  switch (t) {
    case DType::kF32: return f.template operator()<float>();
    case DType::kF16: return f.template operator()<F16>();
    case DType::kBF16: return f.template operator()<BF16>();
    case DType::kF64: return f.template operator()<double>();
    case DType::kI8: return f.template operator()<int8_t>();
    case DType::kU8: return f.template operator()<uint8_t>();
    case DType::kI16: return f.template operator()<int16_t>();
    case DType::kU16: return f.template operator()<uint16_t>();
    case DType::kI32: return f.template operator()<int32_t>();
    case DType::kU32: return f.template operator()<uint32_t>();
    case DType::kI64: return f.template operator()<int64_t>();
    case DType::kU64: return f.template operator()<uint64_t>();
    case DType::kBool: break;
    case DType::kI4:
    case DType::kI2:
      return f.template operator()<int8_t>();
    case DType::kU4:
    case DType::kU2:
      return f.template operator()<uint8_t>();
    case DType::kF8E4M3FN:
    case DType::kF8E4M3FNUZ:
    case DType::kF8E5M2:
    case DType::kF8E5M2FNUZ:
    case DType::kF8E8M0:
    case DType::kF4E2M1:
      return f.template operator()<uint8_t>();  // their bits
  }
  return f.template operator()<bool>();
}

// How a value that lies between those of a narrow float is rounded.
enum class Rounding { kNearestEven, kUp /* away from zero */, kDown /* towards zero */ };
// The value of a narrow float's bits.
float decode_narrow(DType t, uint8_t bits);
// The nearest value's bits. Beyond the greatest finite value: that value when `saturate`, else infinity, or NaN where
// the type has none; types with neither always saturate. (OCP 8-bit floating point, OCP microscaling formats, ONNX's
// Cast.)
uint8_t encode_narrow(DType t, double value, bool saturate = true, Rounding rounding = Rounding::kNearestEven);
// Least and greatest value of an integer type that is stored in int8 or uint8: i4 gives -8 and 7.
struct NarrowRange {
  int lo = 0, hi = 0;
};
NarrowRange narrow_range(DType t);

// A scalar read as, or written from, the widest type of its kind. Conversions saturate never and truncate as C++ does,
// except float to integer, which is defined (0) for NaN and clamps to the type's range.
template <class To, class From>
To convert(From v) {
  if constexpr (std::is_same_v<From, F16> || std::is_same_v<From, BF16>) {
    return convert<To>(static_cast<float>(v));
  } else if constexpr (std::is_same_v<To, F16> || std::is_same_v<To, BF16>) {
    return To(static_cast<float>(v));
  } else if constexpr (std::is_same_v<To, bool>) {
    return v != From{};
  } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
    if (!(v == v)) return To{0};
    constexpr double lo = static_cast<double>(std::numeric_limits<To>::min());
    constexpr double hi = static_cast<double>(std::numeric_limits<To>::max());
    if (static_cast<double>(v) <= lo) return std::numeric_limits<To>::min();
    if (static_cast<double>(v) >= hi) return std::numeric_limits<To>::max();
    return static_cast<To>(v);
  } else {
    return static_cast<To>(v);
  }
}

}  // namespace tenon
