// Lines that will be read or written are asked for before: by then nobody waits for them.
#pragma once

#include <cstdint>

namespace tenon::kernels::cpu {

inline constexpr int64_t kCacheLine = 64;

// A line for this processor alone, which writes it: other processors, that may have read it, give theirs up meanwhile.
inline void prefetch_to_write(const void* line) {
#if defined(__x86_64__)
  asm volatile("prefetchw %0" ::"m"(*static_cast<const char*>(line)));
#else
  __builtin_prefetch(line, 1);
#endif
}

// `bytes` of each of so many rows, `stride` bytes apart.
inline void prefetch_rows(const void* first, int64_t stride, int64_t rows, int64_t bytes) {
  const auto* row = static_cast<const char*>(first);
  for (int64_t r = 0; r < rows; ++r, row += stride)
    for (int64_t at = 0; at < bytes; at += kCacheLine) __builtin_prefetch(row + at);
}
inline void prefetch_rows_to_write(const void* first, int64_t stride, int64_t rows, int64_t bytes) {
  const auto* row = static_cast<const char*>(first);
  for (int64_t r = 0; r < rows; ++r, row += stride)
    for (int64_t at = 0; at < bytes; at += kCacheLine) prefetch_to_write(row + at);
}

}  // namespace tenon::kernels::cpu
