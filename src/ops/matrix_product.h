// The product of two dense matrices, for reference loops: portable, single-threaded, about ten times the textbook loop.
#pragma once

#include <cstdint>

namespace tenon::ops {

// c [m, n] = a [m, k] b [k, n]; rows are lda, ldb and ldc elements apart. A is float or double. Sums run over blocks of k in
// order, so errors stay below those of one long sum. Column ranges are independent: threads may take one each.
template <class A>
void matrix_product(int64_t m, int64_t n, int64_t k, const A* a, int64_t lda, const A* b, int64_t ldb, A* c, int64_t ldc);

}  // namespace tenon::ops
