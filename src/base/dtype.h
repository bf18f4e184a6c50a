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

constexpr bool is_float(DType t) {
  return t == DType::kF32 || t == DType::kF16 || t == DType::kBF16 || t == DType::kF64;
}
constexpr bool is_integer(DType t) { return !is_float(t) && t != DType::kBool; }

std::optional<DType> parse_dtype(std::string_view name);

// Calls f.template operator()<T>() with the C++ type of `t`: visit_dtype(t, []<class T>() { … }).
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
  }
  return f.template operator()<bool>();
}

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
