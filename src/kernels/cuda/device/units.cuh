// Units of 1 to 16 bytes, as kernels move them that do not care what they are.
#pragma once

#include "base.cuh"

constexpr long long kNowhere = 0x7fffffffffffffff;

template <class U>
TENON_DEVICE void copy_as(const void* x, long long from, void* y, long long to) {
  static_cast<U*>(y)[to] = from == kNowhere ? U{} : static_cast<const U*>(x)[from];
}

// Zeros from nowhere.
TENON_DEVICE void copy_unit(int unit, const void* x, long long from, void* y, long long to) {
  switch (unit) {
    case 16:
      return copy_as<uint4>(x, from, y, to);
    case 8:
      return copy_as<uint2>(x, from, y, to);
    case 4:
      return copy_as<uint32_t>(x, from, y, to);
    case 2:
      return copy_as<uint16_t>(x, from, y, to);
    default:
      return copy_as<uint8_t>(x, from, y, to);
  }
}
