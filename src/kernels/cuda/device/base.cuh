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
