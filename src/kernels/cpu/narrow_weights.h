// Packed weights of narrow factors, the same for every instruction set:
//   bf16   panels [N/16][groups][16][2]
//   int8   panels [N/16][groups][16][4], then for each of the 16 N/16 columns its step (f32) and the sum of its
//   integers (s32); the same for int8_quads, whose sums of four products fit 16 bits (ops/quantize.h)
// Groups are a multiple of kGroupStep, so that K is padded with zeros to whole tiles of AMX; so are columns to whole
// panels.
#pragma once

#include "base/dtype.h"
#include "kernels/cpu/vector_code.h"

namespace tenon::kernels::cpu {

enum class Factors { kBf16, kInt8, kInt8Quads };

constexpr bool is_integer(Factors factors) { return factors != Factors::kBf16; }

constexpr int64_t bytes_of(Factors factors) { return factors == Factors::kBf16 ? 2 : 1; }
// K of the packed panels.
constexpr int64_t padded_depth(Factors factors, int64_t k) {
  const int64_t step = 4 * kGroupStep / bytes_of(factors);
  return (k + step - 1) / step * step;
}
constexpr int64_t padded_columns(int64_t n) { return (n + kPanel - 1) / kPanel * kPanel; }
// Bytes of the panels.
constexpr int64_t panel_bytes(Factors factors, int64_t k, int64_t n) {
  return padded_columns(n) * padded_depth(factors, k) * bytes_of(factors);
}
// Bytes of everything.
constexpr int64_t packed_bytes(Factors factors, int64_t k, int64_t n) {
  return panel_bytes(factors, k, n) + (is_integer(factors) ? padded_columns(n) * 8 : 0);
}

// Packs w [k, n], row-major, into packed_bytes bytes.
void pack_narrow(Factors factors, const float* w, int64_t k, int64_t n, std::byte* packed);

}  // namespace tenon::kernels::cpu
