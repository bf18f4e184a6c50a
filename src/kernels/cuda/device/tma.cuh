// The copy engine (TMA): boxes of a matrix between global and shared memory, described by a tensor map; and the fences
// between it and ordinary accesses.
#pragma once

#include "mbarrier.cuh"

// CUtensorMap, encoded on the host (driver.h). A kernel takes it as `const __grid_constant__ TensorMap`.
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

TENON_DEVICE void prefetch_map(const TensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// The box at (column, row) into shared memory; its bytes arrive at `barrier`. Outside the matrix it reads zeros.
TENON_DEVICE void load_box(uint32_t to, const TensorMap& map, int column, int row, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(column), "r"(row)
      : "memory");
}
// On its way to L2.
TENON_DEVICE void prefetch_box(const TensorMap& map, int column, int row) {
  asm volatile("cp.async.bulk.prefetch.tensor.2d.L2.global.tile [%0, {%1, %2}];" ::"l"(&map), "r"(column), "r"(row)
               : "memory");
}
// The box at (column, row) into every block of the cluster whose bit is in `mask`, at the same addresses.
TENON_DEVICE void load_box_multicast(uint32_t to, const TensorMap& map, int column, int row, uint32_t barrier, uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
      " [%0], [%1, {%3, %4}], [%2], %5;" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(column), "r"(row), "h"(mask)
      : "memory");
}

// As many pixels of images as `map` says (driver.h, encode_pixels) into shared memory: from the window on that begins at
// (n, h, w), windows in order, in each the pixel (dh, dw) further, its channels from c on. Zeros outside of the images.
TENON_DEVICE void load_pixels(uint32_t to, const TensorMap& map, int c, int w, int h, int n, uint16_t dw, uint16_t dh,
                              uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(c), "r"(w), "r"(h), "r"(n), "h"(dw), "h"(dh)
      : "memory");
}

// The box at (column, row) from shared memory; what lies outside the matrix is dropped.
TENON_DEVICE void store_box(const TensorMap& map, uint32_t from, int column, int row) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(&map), "r"(from),
               "r"(column), "r"(row)
               : "memory");
}
TENON_DEVICE void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// This thread's stores have read their shared memory.
TENON_DEVICE void wait_stores_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

// By each thread that wrote shared memory with ordinary stores, before the barrier after which the copy engine or wgmma
// reads it.
TENON_DEVICE void fence_async_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Byte `column` of row `row` in a tile of 128-byte rows with the 128-byte swizzle: 16-byte units are permuted in a row.
TENON_DEVICE uint32_t swizzle_128b(uint32_t row, uint32_t column) { return row * 128 + (column ^ ((row & 7) << 4)); }
