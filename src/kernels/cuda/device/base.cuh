// Types and small helpers that every kernel uses. No toolkit header: NVRTC compiles these files alone.
#pragma once

using uint8_t = unsigned char;
using int8_t = signed char;
using uint16_t = unsigned short;
using int16_t = short;
using uint32_t = unsigned int;
using int32_t = int;
using uint64_t = unsigned long long;
using int64_t = long long;

#define TENON_DEVICE __device__ __forceinline__

// v of the warp's first lane, which is that of all: the compiler then knows it, and keeps what follows from it (addresses,
// the tiles that wgmma multiplies) in the registers that a warp has in common. A warp's lanes all call it.
TENON_DEVICE int uniform(int v) { return __shfl_sync(~0u, v, 0); }

// The line of 128 bytes at p on its way to L2.
TENON_DEVICE void prefetch_l2(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
