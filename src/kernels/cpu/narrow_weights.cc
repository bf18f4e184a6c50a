#include "kernels/cpu/narrow_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace tenon::kernels::cpu {
namespace {

// Calls body(i, c, w[i, column + c]) for the columns of a panel that exist, row by row.
template <class Body>
void for_panel(const float* w, int64_t k, int64_t n, int64_t panel, Body&& body) {
  const int64_t first = panel * kPanel, count = std::min<int64_t>(kPanel, n - first);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t c = 0; c < count; ++c) body(i, c, w[i * n + first + c]);
}

void pack_integers(const float* w, int64_t k, int64_t n, bool quads, std::byte* packed) {
  auto* steps = reinterpret_cast<float*>(packed + panel_bytes(Factors::kInt8, k, n));
  auto* sums = reinterpret_cast<int32_t*>(steps + padded_columns(n));
  const int64_t depth = padded_depth(Factors::kInt8, k);
  std::vector<float> columns(static_cast<size_t>(k * kPanel));
  std::vector<int8_t> integers(static_cast<size_t>(k));
  for (int64_t p = 0; p * kPanel < n; ++p) {
    for_panel(w, k, n, p, [&](int64_t i, int64_t c, float v) { columns[static_cast<size_t>(c * k + i)] = v; });
    auto* panel = reinterpret_cast<int8_t*>(packed) + p * depth * kPanel;
    for (int64_t j = p * kPanel; j < std::min(n, (p + 1) * kPanel); ++j) {
      const int64_t c = j % kPanel;
      steps[j] = ops::quantize_column(columns.data() + c * k, k, quads, integers.data());
      for (int64_t i = 0; i < k; ++i) {
        const int8_t r = integers[static_cast<size_t>(i)];
        panel[i / 4 * 4 * kPanel + c * 4 + i % 4] = r;
        sums[j] += r;
      }
    }
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
  pack_integers(w, k, n, factors == Factors::kInt8Quads, packed);
}

}  // namespace tenon::kernels::cpu
