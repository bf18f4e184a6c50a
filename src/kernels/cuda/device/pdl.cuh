// Programmatic dependent launch: a kernel starts while the one ahead of it in the stream still runs.
#pragma once

#include "base.cuh"

// Returns when the kernels ahead have ended and their writes are visible. Before it only weights may be read.
TENON_DEVICE void wait_for_previous_kernels() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel start as soon as every block has said so (or ended) and there is room for it.
TENON_DEVICE void allow_next_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
