// wgmma (sm_90a): a warpgroup of 128 threads multiplies 64 rows of A by N rows of B, both K-major in shared memory, 16
// columns of K at a time, into float registers.
//
// Accumulators: thread t of the warpgroup (warp w = t / 32, lane l) holds rows 16w + l/4 and 8 more; d[4j + 0..1] are
// columns 8j + 2(l % 4) + 0..1 of the first row, d[4j + 2..3] those of the second.
#pragma once

#include "half.cuh"

// Around a series of wgmma: registers written before are visible to it; a series is one group; at most `kPending` of
// the latest groups are still running after the wait.
TENON_DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
TENON_DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
TENON_DEVICE void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// After the wait for a product, before its result is read: without it the compiler may read the registers ahead of the
// wait.
template <int kCount>
TENON_DEVICE void wgmma_result(float (&d)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// Describes a tile in shared memory: rows of 64 elements (128 bytes, as TMA writes them with the 128-byte swizzle),
// 8-row groups of 1024 bytes one after the other. The tile begins at a multiple of 1024; 16 columns further is 32 bytes
// further, which `column_bytes` says.
TENON_DEVICE uint64_t wgmma_tile(uint32_t address, uint32_t column_bytes = 0) {
  constexpr uint32_t kGroupStride = 1024 >> 4, kSwizzle128B = 1;
  uint64_t tile;
  asm("mov.b64 %0, {%1, %2};"
      : "=l"(tile)
      : "r"((address >> 4 | 1u << 16) + column_bytes / 16), "n"(kGroupStride | kSwizzle128B << 30));
  return tile;
}

// d (+)= A B^T; `accumulate` false overwrites d.
template <class T, int kN>
struct Wgmma;

// The operand lists, eight registers at a time.
#define TENON_R0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define TENON_R1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define TENON_R2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define TENON_R3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define TENON_R4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define TENON_R5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define TENON_R6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define TENON_R7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define TENON_R8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define TENON_R9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define TENON_R10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define TENON_R11 "%88, %89, %90, %91, %92, %93, %94, %95"
#define TENON_R12 "%96, %97, %98, %99, %100, %101, %102, %103"
#define TENON_R13 "%104, %105, %106, %107, %108, %109, %110, %111"
#define TENON_R14 "%112, %113, %114, %115, %116, %117, %118, %119"
#define TENON_R15 "%120, %121, %122, %123, %124, %125, %126, %127"
#define TENON_D(i)                                                                                 \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),      \
      "+f"(d[i + 6]), "+f"(d[i + 7])
#define TENON_R_32 TENON_R0 ", " TENON_R1
#define TENON_R_64 TENON_R_32 ", " TENON_R2 ", " TENON_R3
#define TENON_R_96 TENON_R_64 ", " TENON_R4 ", " TENON_R5
#define TENON_R_128 TENON_R_96 ", " TENON_R6 ", " TENON_R7
#define TENON_R_192 TENON_R_128 ", " TENON_R8 ", " TENON_R9 ", " TENON_R10 ", " TENON_R11
#define TENON_R_256 TENON_R_192 ", " TENON_R12 ", " TENON_R13 ", " TENON_R14 ", " TENON_R15
#define TENON_D_32 TENON_D(0), TENON_D(8)
#define TENON_D_64 TENON_D_32, TENON_D(16), TENON_D(24)
#define TENON_D_96 TENON_D_64, TENON_D(32), TENON_D(40)
#define TENON_D_128 TENON_D_96, TENON_D(48), TENON_D(56)
#define TENON_D_192 TENON_D_128, TENON_D(64), TENON_D(72), TENON_D(80), TENON_D(88)
#define TENON_D_256 TENON_D_192, TENON_D(96), TENON_D(104), TENON_D(112), TENON_D(120)

// a, b, p: the numbers of the operands that follow the N / 2 accumulators.
#define TENON_WGMMA(T, N, a, b, p)                                                                                  \
  template <>                                                                                                       \
  struct Wgmma<T, N> {                                                                                              \
    static TENON_DEVICE void multiply(float (&d)[N / 2], uint64_t a_tile, uint64_t b_tile, bool accumulate) {       \
      asm volatile("{ .reg .pred p; setp.ne.b32 p, " p ", 0; wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T    \
                   "." #T " {" TENON_R_##N "}, " a ", " b ", p, 1, 1, 0, 0; }"                                      \
                   : TENON_D_##N                                                                                    \
                   : "l"(a_tile), "l"(b_tile), "r"(static_cast<int>(accumulate)));                                  \
    }                                                                                                               \
  };
#define TENON_WGMMA_BOTH(N, a, b, p) TENON_WGMMA(f16, N, a, b, p) TENON_WGMMA(bf16, N, a, b, p)
TENON_WGMMA_BOTH(32, "%16", "%17", "%18")
TENON_WGMMA_BOTH(64, "%32", "%33", "%34")
TENON_WGMMA_BOTH(96, "%48", "%49", "%50")
TENON_WGMMA_BOTH(128, "%64", "%65", "%66")
TENON_WGMMA_BOTH(192, "%96", "%97", "%98")
TENON_WGMMA_BOTH(256, "%128", "%129", "%130")
