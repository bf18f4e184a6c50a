// Memory of the CPU benchmarks, as runs have it: in large pages where the system has such.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace tenon::bench {

using Floats = std::unique_ptr<float, void (*)(void*)>;

inline Floats floats(size_t count) {
  constexpr size_t kPage = size_t{2} << 20;
  const size_t size = (count * sizeof(float) + kPage - 1) / kPage * kPage;
  Floats memory(static_cast<float*>(std::aligned_alloc(kPage, size)), std::free);
  (void)::madvise(memory.get(), size, MADV_HUGEPAGE);
  return memory;
}

}  // namespace tenon::bench
