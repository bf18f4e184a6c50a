// Warp-wide matrix instructions of every tensor-core GPU (sm_80): 8x8 fragments to and from shared memory, the 16x8x16
// product, asynchronous 16-byte copies.
#pragma once

#include "half.cuh"

// Four 8x8 matrices; lanes 8i .. 8i + 7 give the addresses of the rows of matrix i. Lane l holds row l / 4, columns
// 2(l % 4) and the next, of each.
TENON_DEVICE void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
// The same, each matrix transposed.
TENON_DEVICE void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}
#if __CUDA_ARCH__ >= 900
TENON_DEVICE void store_matrices(uint32_t address, const uint32_t (&r)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(r[0]), "r"(r[1]),
               "r"(r[2]), "r"(r[3])
               : "memory");
}
#endif

// d += a b: a 16x16 (a[0]: rows 0-7, k 0-7; a[1]: rows 8-15; a[2], a[3]: k 8-15), b 16x8 (b0: k 0-7, b1: k 8-15).
// d[0..1] are row l / 4, columns 2(l % 4) and the next; d[2..3] row l / 4 + 8.
template <class T>
TENON_DEVICE void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
#define TENON_MMA(T)                                                                                                      \
  template <>                                                                                                             \
  TENON_DEVICE void multiply_16x8x16<T>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {                \
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." #T "." #T ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, " \
                 "{%0, %1, %2, %3};"                                                                                      \
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                         \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));                                         \
  }
TENON_MMA(f16)
TENON_MMA(bf16)

// f32 rounded to the 19 bits that the tensor cores read of it (tf32: 8 of exponent, 10 of mantissa).
TENON_DEVICE uint32_t round_to_tf32(uint32_t x) {
  uint32_t r;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(__uint_as_float(x)));
  return r;
}
// d += a b in tf32: a 16x8, b 8x8; registers as above, each with one element of 4 bytes in place of two of 2.
TENON_DEVICE void multiply_16x8x8_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 bytes from global to shared memory, past L1; zeros when `valid` is false (the address is then not read).
TENON_DEVICE void copy_async(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(valid ? 16 : 0) : "memory");
}
TENON_DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kPending>
TENON_DEVICE void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}
