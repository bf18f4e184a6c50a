// Sizes that depend on data are rounded up to the end of a bucket, so that what was laid out or recorded for one serves
// others.
#pragma once

#include <cstdint>

namespace tenon::runtime {

inline constexpr int64_t kMemoryBuckets = 8, kGraphBuckets = 32;  // few layouts; few rows computed for nothing
inline constexpr int64_t kLeastBucket = 16;                       // every end is a multiple of it

// The upper end of the bucket that `n` falls into: there are `half` to twice as many in every octave, powers of two among
// their ends.
constexpr int64_t bucket_end(int64_t n, int64_t half) {
  int64_t step = kLeastBucket;
  while (n > step * 2 * half) step *= 2;
  return (n + step - 1) / step * step;
}

}  // namespace tenon::runtime
