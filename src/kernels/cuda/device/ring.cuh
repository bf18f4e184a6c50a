// Rings of slots in shared memory that one side fills and others read, with a pair of barriers (full, empty) for each
// slot.
#pragma once

#include "mbarrier.cuh"

// Where one side of a ring stands. Readers wait for the full barrier with `parity`, the filler for the empty one with
// the opposite: it finds the slots of the first round empty.
template <int kSlots>
struct Position {
  int slot = 0;
  uint32_t parity = 0;
  TENON_DEVICE void advance() {
    if (++slot == kSlots) {
      slot = 0;
      parity ^= 1;
    }
  }
};

// barrier_wait where it may take long: leaves the issue slots to others.
TENON_DEVICE void barrier_wait_long(uint32_t barrier, uint32_t parity) {
#pragma unroll 1
  while (!barrier_try(barrier, parity)) asm volatile("nanosleep.u32 32;");
}
