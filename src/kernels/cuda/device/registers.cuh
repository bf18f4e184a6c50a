// Registers move between warpgroups of a block (setmaxnreg, sm_90a): all 128 threads of one call it, with a multiple of
// 8. The kernel needs a register cap at its entry (__launch_bounds__ with a number of blocks).
#pragma once

#include "base.cuh"

template <int kCount>
TENON_DEVICE void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kCount));
}
template <int kCount>
TENON_DEVICE void release_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kCount));
}

// The thread's index in its block, opaque: what is computed from it is not hoisted out of loops, where it would take
// registers.
TENON_DEVICE int thread_here() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}
