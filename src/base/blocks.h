// Plain loops over long arrays.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace tenon {

// f(0) … f(n - 1), in blocks of a size that compilers know: -O2 turns only such loops into vector code.
template <class F>
inline void in_blocks(int64_t n, F&& f) {
  constexpr int64_t kBlock = 32;
  int64_t i = 0;
  for (; i + kBlock <= n; i += kBlock)
    for (int64_t k = 0; k < kBlock; ++k) f(i + k);
  for (; i < n; ++i) f(i);
}

// Whether all of `values` are 0 to limit - 1. May be false where one is the greatest of its type and below the limit.
template <class T>
inline bool all_below(const T* values, int64_t count, int64_t limit) {
  using Unsigned = std::make_unsigned_t<T>;
  const auto most = static_cast<Unsigned>(std::min<int64_t>(limit, std::numeric_limits<T>::max())) - 1;
  Unsigned signs = 0;  // of the values, and of what they fall short by
  in_blocks(count, [&](int64_t i) { signs |= static_cast<Unsigned>(values[i]) | (most - static_cast<Unsigned>(values[i])); });
  return static_cast<T>(signs) >= 0;
}

}  // namespace tenon
