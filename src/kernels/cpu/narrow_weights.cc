#include "kernels/cpu/narrow_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace tenon::kernels::cpu {
namespace {

// Calls body(i, c, w[i, column + c]) for the columns of a panel that exist, row by row.
template <class Body>
void for_panel(const float* w, int64_t k, int64_t n, int64_t panel, Body&& body) {
  const int64_t first = panel * kPanel, count = std::min<int64_t>(kPanel, n - first);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t c = 0; c < count; ++c) body(i, c, w[i * n + first + c]);
}

void pack_integers(const float* w, int64_t k, int64_t n, int32_t limit, std::byte* packed) {
  auto* steps = reinterpret_cast<float*>(packed + panel_bytes(Factors::kInt8, k, n));
  auto* sums = reinterpret_cast<int32_t*>(steps + padded_columns(n));
  const int64_t depth = padded_depth(Factors::kInt8, k);
  for (int64_t p = 0; p * kPanel < n; ++p, steps += kPanel, sums += kPanel) {
    float largest[kPanel] = {};  // absolute value of the column; NaN stays
    for_panel(w, k, n, p, [&](int64_t, int64_t c, float v) {
      if (!(std::abs(v) <= largest[c]) && !std::isnan(largest[c])) largest[c] = std::abs(v);
    });
    auto* panel = reinterpret_cast<int8_t*>(packed) + p * depth * kPanel;
    for_panel(w, k, n, p, [&](int64_t i, int64_t c, float v) {
      const int32_t q = ops::quantize_weight(v, largest[c], limit);
      panel[i / 4 * 4 * kPanel + c * 4 + i % 4] = static_cast<int8_t>(q);
      sums[c] += q;
    });
    for (int c = 0; c < kPanel; ++c) steps[c] = ops::column_step(largest[c], limit);
  }
}

void pack_bf16(const float* w, int64_t k, int64_t n, std::byte* packed) {
  const int64_t depth = padded_depth(Factors::kBf16, k);
  for (int64_t p = 0; p * kPanel < n; ++p) {
    auto* panel = reinterpret_cast<uint16_t*>(packed) + p * depth * kPanel;
    for_panel(w, k, n, p,
              [&](int64_t i, int64_t c, float v) { panel[i / 2 * 2 * kPanel + c * 2 + i % 2] = BF16(v).bits; });
  }
}

}  // namespace

void pack_narrow(Factors factors, const float* w, int64_t k, int64_t n, std::byte* packed) {
  std::memset(packed, 0, static_cast<size_t>(packed_bytes(factors, k, n)));
  if (!is_integer(factors)) return pack_bf16(w, k, n, packed);
  pack_integers(w, k, n, ops::largest_weight(factors == Factors::kInt7 ? 7 : 8), packed);
}

}  // namespace tenon::kernels::cpu
