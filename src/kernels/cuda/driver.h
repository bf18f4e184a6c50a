// The CUDA driver by our own declarations, opened at run time: one binary runs on machines with and without a GPU.
// Names and layouts are those of the CUDA driver API 12.4 (CUDA Toolkit documentation, "CUDA Driver API").
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/status.h"

namespace tenon::cuda {

using DevicePtr = uint64_t;
struct CUctx_st;
struct CUstream_st;
struct CUmod_st;
struct CUfunc_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphExec_st;
using ContextHandle = CUctx_st*;
using Stream = CUstream_st*;
using Module = CUmod_st*;
using Function = CUfunc_st*;
using Event = CUevent_st*;
using Graph = CUgraph_st*;
using GraphExec = CUgraphExec_st*;

// CUtensorMap: opaque, encoded by the driver, passed to kernels by value.
struct alignas(64) TensorMap {
  uint64_t opaque[16];
};

enum class TensorMapType : int { kU8 = 0, kU32 = 2, kF16 = 6, kF32 = 7, kBF16 = 9 };
enum class Swizzle : int { kNone = 0, k32B = 1, k64B = 2, k128B = 3 };

// CUlaunchAttribute, as much as is used.
enum class LaunchAttributeId : int { kClusterDimension = 4, kProgrammaticStreamSerialization = 6 };
struct LaunchAttribute {
  LaunchAttributeId id;
  char pad[4];
  union {
    char bytes[64];
    unsigned cluster[3];
    int programmatic;
  } value;
};
struct LaunchConfig {
  unsigned grid[3], block[3];
  unsigned shared_bytes;
  Stream stream;
  LaunchAttribute* attributes;
  unsigned num_attributes;
};

// CUdevice_attribute
enum class DeviceAttribute : int {
  kClockRate = 13,  // at most, kHz
  kMultiprocessorCount = 16,
  kL2CacheSize = 38,
  kSharedMemoryPerBlockOptin = 97,
  kComputeCapabilityMajor = 75,
  kComputeCapabilityMinor = 76,
};
// CUfunction_attribute
inline constexpr int kFunctionMaxDynamicShared = 8;

// name, parameters: each is a member of Driver under the API's own name (with its version suffix resolved by the loader).
#define TENON_CUDA_FUNCTIONS(F)                                                                            \
  F(cuInit, (unsigned))                                                                                    \
  F(cuDriverGetVersion, (int*))                                                                            \
  F(cuGetErrorName, (int, const char**))                                                                   \
  F(cuGetErrorString, (int, const char**))                                                                 \
  F(cuDeviceGetCount, (int*))                                                                              \
  F(cuDeviceGet, (int*, int))                                                                              \
  F(cuDeviceGetName, (char*, int, int))                                                                    \
  F(cuDeviceTotalMem, (size_t*, int))                                                                      \
  F(cuDeviceGetAttribute, (int*, int, int))                                                                \
  F(cuDevicePrimaryCtxRetain, (ContextHandle*, int))                                                       \
  F(cuDevicePrimaryCtxRelease, (int))                                                                      \
  F(cuCtxSetCurrent, (ContextHandle))                                                                      \
  F(cuMemAlloc, (DevicePtr*, size_t))                                                                      \
  F(cuMemFree, (DevicePtr))                                                                                \
  F(cuMemHostAlloc, (void**, size_t, unsigned))                                                            \
  F(cuMemFreeHost, (void*))                                                                                \
  F(cuMemcpyHtoDAsync, (DevicePtr, const void*, size_t, Stream))                                           \
  F(cuMemcpyDtoHAsync, (void*, DevicePtr, size_t, Stream))                                                 \
  F(cuMemcpyAsync, (DevicePtr, DevicePtr, size_t, Stream))                                                 \
  F(cuMemsetD8Async, (DevicePtr, unsigned char, size_t, Stream))                                           \
  F(cuStreamCreate, (Stream*, unsigned))                                                                   \
  F(cuStreamDestroy, (Stream))                                                                             \
  F(cuStreamSynchronize, (Stream))                                                                         \
  F(cuEventCreate, (Event*, unsigned))                                                                     \
  F(cuEventDestroy, (Event))                                                                               \
  F(cuEventRecord, (Event, Stream))                                                                        \
  F(cuEventSynchronize, (Event))                                                                           \
  F(cuEventElapsedTime, (float*, Event, Event))                                                            \
  F(cuModuleLoadData, (Module*, const void*))                                                              \
  F(cuModuleUnload, (Module))                                                                              \
  F(cuModuleGetFunction, (Function*, Module, const char*))                                                 \
  F(cuFuncSetAttribute, (Function, int, int))                                                              \
  F(cuLaunchKernelEx, (const LaunchConfig*, Function, void**, void**))                                     \
  F(cuOccupancyMaxActiveClusters, (int*, Function, const LaunchConfig*))                                   \
  F(cuTensorMapEncodeTiled, (TensorMap*, int, unsigned, void*, const uint64_t*, const uint64_t*,           \
                             const unsigned*, const unsigned*, int, int, int, int))                        \
  F(cuTensorMapEncodeIm2col, (TensorMap*, int, unsigned, void*, const uint64_t*, const uint64_t*,          \
                              const int*, const int*, unsigned, unsigned, const unsigned*, int, int, int,  \
                              int))                                                                        \
  F(cuStreamBeginCapture, (Stream, int))                                                                   \
  F(cuStreamEndCapture, (Stream, Graph*))                                                                  \
  F(cuGraphInstantiateWithFlags, (GraphExec*, Graph, unsigned long long))                                  \
  F(cuGraphLaunch, (GraphExec, Stream))                                                                    \
  F(cuGraphExecDestroy, (GraphExec))                                                                       \
  F(cuGraphDestroy, (Graph))

struct Driver {
#define TENON_CUDA_MEMBER(name, parameters) int(*name) parameters = nullptr;
  TENON_CUDA_FUNCTIONS(TENON_CUDA_MEMBER)
#undef TENON_CUDA_MEMBER
};

// The driver, initialised; opened once per process. Errors: no-device, saying what is missing (the library, an entry point
// and so the least driver version, a GPU).
Result<const Driver*> driver();

// Turns a driver's result into a status: internal, "what: CUDA_ERROR_NAME (text)"; out-of-memory for that one.
Status check(int result, const char* what);

// One GPU through its primary context, which is shared with other users in the process.
class Device {
 public:
  // Opened once per process and ordinal. Errors: no-device.
  static Result<const Device*> open(int ordinal = 0);

  const Driver& api() const { return *api_; }
  int ordinal() const { return ordinal_; }
  const std::string& name() const { return name_; }
  int compute_capability() const { return capability_; }  // 90 for 9.0
  // What the code that runs on it was compiled for: its own, or an older one's (with_code_of).
  int code_capability() const { return code_capability_; }
  Device with_code_of(int capability) const;
  std::string target() const;                             // "sm_90"
  int multiprocessors() const { return multiprocessors_; }
  int shared_memory() const { return shared_memory_; }    // bytes that one block may have
  // What else the driver says of it; 0 where it does not.
  int attribute(DeviceAttribute attribute) const;
  size_t memory() const { return memory_; }
  int driver_version() const { return driver_version_; }  // 12040 for 12.4
  // Makes the device's context current for the calling thread. Cheap when it is already.
  Status use() const;

 private:
  Device() = default;
  Status init(int ordinal);

  const Driver* api_ = nullptr;
  ContextHandle context_ = nullptr;
  int ordinal_ = 0, capability_ = 0, code_capability_ = 0, multiprocessors_ = 0, shared_memory_ = 0, driver_version_ = 0;
  size_t memory_ = 0;
  std::string name_;
};

// A 2-D row-major matrix in device memory, read by TMA in boxes. Errors: internal.
//   rows, columns   of the matrix, in elements; reads outside give zeros, writes outside are dropped
//   stride          bytes from a row to the next, a multiple of 16
//   box             rows and columns of one copy
Status encode_matrix(const Driver& api, TensorMap& map, TensorMapType type, DevicePtr data, int64_t rows, int64_t columns,
                     int64_t stride, int box_rows, int box_columns, Swizzle swizzle);

// The pixels of images [count, height, width, channels] of 16-bit elements under one element of a window that slides over
// them, read by TMA many at a time; those outside of their image are zeros. Pairs are of height and width.
struct PixelMap {
  DevicePtr data = 0;
  int64_t count = 0, size[2] = {}, channels = 0;  // channels: a multiple of 8
  int first[2] = {}, last[2] = {};  // where the window's first element stands at first, from the image's first pixel; at
                                    // last, from its last pixel; -128 to 127
  int step[2] = {1, 1};             // from window to window; at most 8
  int pixels = 0, box_channels = 0;  // of one copy
};
// Errors: internal.
Status encode_pixels(const Driver& api, TensorMap& map, TensorMapType type, const PixelMap& pixels, Swizzle swizzle);

}  // namespace tenon::cuda
