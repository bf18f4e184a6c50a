#include "ops/matrix_product.h"

#include <algorithm>

namespace tenon::ops {
namespace {

// Every x86-64 has 16 bytes of it; the compiler would not find this layout by itself.
template <class A>
struct Simd {
  typedef A Vector __attribute__((vector_size(16)));
  static constexpr int kLanes = 16 / sizeof(A);
};

// A tile of kRows x kCols sums stays in registers while one block of k passes; the block's columns of b are copied into a
// contiguous panel that stays in the first-level cache while all rows of a pass.
constexpr int kRows = 4;
constexpr int kVectors = 2;
template <class A>
constexpr int kCols = kVectors * Simd<A>::kLanes;
constexpr int64_t kDepth = 256;

template <class A>
using Panel = typename Simd<A>::Vector[kDepth][kVectors];

template <int rows, class A>
void add_tile(int64_t depth, const A* a, int64_t lda, const Panel<A>& panel, bool first, A* c, int64_t ldc, int64_t cols) {
  typename Simd<A>::Vector sum[rows][kVectors] = {};
  for (int64_t p = 0; p < depth; ++p) {
    for (int r = 0; r < rows; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[r][v] += a[r * lda + p] * panel[p][v];
    }
  }
  for (int r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < cols; ++j) {
      const A s = sum[r][j / Simd<A>::kLanes][j % Simd<A>::kLanes];
      c[r * ldc + j] = first ? s : c[r * ldc + j] + s;
    }
  }
}

}  // namespace

template <class A>
void matrix_product(int64_t m, int64_t n, int64_t k, const A* a, int64_t lda, const A* b, int64_t ldb, A* c, int64_t ldc) {
  Panel<A> panel;
  for (int64_t j = 0; j < n; j += kCols<A>) {
    const int64_t cols = std::min<int64_t>(kCols<A>, n - j);
    for (int64_t p = 0; p == 0 || p < k; p += kDepth) {  // one pass even when k is 0: c becomes 0
      const int64_t depth = std::min(kDepth, k - p);
      for (int64_t q = 0; q < depth; ++q) {
        for (int64_t t = 0; t < kCols<A>; ++t) {
          panel[q][t / Simd<A>::kLanes][t % Simd<A>::kLanes] = t < cols ? b[(p + q) * ldb + j + t] : A{0};
        }
      }
      int64_t i = 0;
      for (; i + kRows <= m; i += kRows) add_tile<kRows>(depth, a + i * lda + p, lda, panel, p == 0, c + i * ldc + j, ldc, cols);
      for (; i < m; ++i) add_tile<1>(depth, a + i * lda + p, lda, panel, p == 0, c + i * ldc + j, ldc, cols);
    }
  }
}

template void matrix_product(int64_t, int64_t, int64_t, const float*, int64_t, const float*, int64_t, float*, int64_t);
template void matrix_product(int64_t, int64_t, int64_t, const double*, int64_t, const double*, int64_t, double*, int64_t);

}  // namespace tenon::ops
