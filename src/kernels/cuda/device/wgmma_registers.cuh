// wgmma with A in registers: the form attention needs, where the probabilities are made in registers. B lies in shared
// memory as TMA writes it, and may be read transposed.
#pragma once

#include "wgmma.cuh"

// Describes rows of kRowBytes (128 or 64) written with the swizzle of that width: 8-row groups one after the other.
// `panel` is the distance to the next columns in bytes, where a transposed operand has more than one row's worth. Only
// the descriptor's low word depends on the address, so that a step in the rows is one 32-bit addition.
template <int kRowBytes>
struct WgmmaRows {
  uint32_t low;
  TENON_DEVICE explicit WgmmaRows(uint32_t address, uint32_t panel = 16)
      : low((address & 0x3ffff) >> 4 | panel >> 4 << 16) {}
  // What lies so many bytes further.
  TENON_DEVICE WgmmaRows operator+(int bytes) const {
    WgmmaRows further = *this;
    further.low += bytes >> 4;
    return further;
  }
  TENON_DEVICE uint64_t descriptor() const {
    constexpr uint64_t kGroupStride = 8 * kRowBytes >> 4, kSwizzle = kRowBytes == 128 ? 1 : 2;
    return low | kGroupStride << 32 | kSwizzle << 62;
  }
};

// d (+)= A B, A 64 x 16 with the fragments of four mma.sync 16 x 16 matrices, one per warp.
// kTransposed false: B's rows are its N, 16 of their columns are K. true: 16 rows are K, their columns are N.
template <class T, int kN, bool kTransposed>
struct WgmmaRegisters;

#define TENON_WGMMA_REGISTERS(T, N, t, a0, a1, a2, a3, b, p)                                                         \
  template <>                                                                                                        \
  struct WgmmaRegisters<T, N, t != 0> {                                                                              \
    static TENON_DEVICE void multiply(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b_rows, bool accumulate) { \
      asm volatile("{ .reg .pred p; setp.ne.b32 p, " p ", 0; wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." #T     \
                   "." #T " {" TENON_R_##N "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " b ", p, 1, 1, " #t "; }"          \
                   : TENON_D_##N                                                                                     \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_rows), "r"(static_cast<int>(accumulate)));    \
    }                                                                                                                \
  };
// f32 of which tf32 is read: A 64 x 8 with one element in each register, 8 of B's columns (32 bytes as well) are K.
#define TENON_WGMMA_REGISTERS_TF32(N, a0, a1, a2, a3, b, p)                                                          \
  template <>                                                                                                        \
  struct WgmmaRegisters<float, N, false> {                                                                           \
    static TENON_DEVICE void multiply(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b_rows, bool accumulate) { \
      asm volatile("{ .reg .pred p; setp.ne.b32 p, " p ", 0; wgmma.mma_async.sync.aligned.m64n" #N "k8.f32.tf32"     \
                   ".tf32 {" TENON_R_##N "}, {" a0 ", " a1 ", " a2 ", " a3 "}, " b ", p, 1, 1; }"                    \
                   : TENON_D_##N                                                                                     \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b_rows), "r"(static_cast<int>(accumulate)));    \
    }                                                                                                                \
  };
#define TENON_WGMMA_REGISTERS_ALL(N, a0, a1, a2, a3, b, p) \
  TENON_WGMMA_REGISTERS(f16, N, 0, a0, a1, a2, a3, b, p)   \
  TENON_WGMMA_REGISTERS(f16, N, 1, a0, a1, a2, a3, b, p)   \
  TENON_WGMMA_REGISTERS(bf16, N, 0, a0, a1, a2, a3, b, p)  \
  TENON_WGMMA_REGISTERS(bf16, N, 1, a0, a1, a2, a3, b, p)  \
  TENON_WGMMA_REGISTERS_TF32(N, a0, a1, a2, a3, b, p)
TENON_WGMMA_REGISTERS_ALL(32, "%16", "%17", "%18", "%19", "%20", "%21")
TENON_WGMMA_REGISTERS_ALL(64, "%32", "%33", "%34", "%35", "%36", "%37")
TENON_WGMMA_REGISTERS_ALL(96, "%48", "%49", "%50", "%51", "%52", "%53")
TENON_WGMMA_REGISTERS_ALL(128, "%64", "%65", "%66", "%67", "%68", "%69")
TENON_WGMMA_REGISTERS_TF32(192, "%96", "%97", "%98", "%99", "%100", "%101")
TENON_WGMMA_REGISTERS_TF32(256, "%128", "%129", "%130", "%131", "%132", "%133")
