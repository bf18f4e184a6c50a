// A libcuda.so.1 without a GPU, for tests of what the runtime does with one: "device" memory is the host's, copies copy,
// kernels do nothing. Programs find it by LD_LIBRARY_PATH. The environment says what GPU it is:
//   FAKE_GPU       compute capability, 90 for 9.0; unset or 0: there is none
//   FAKE_PTX       what loading PTX gives; unset: 0, success
//   FAKE_GPU_LOG   file to which calls are appended, one word or two a line
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "kernels/cuda/driver.h"

namespace {

using tenon::cuda::DeviceAttribute;
using tenon::cuda::DevicePtr;
using tenon::cuda::LaunchAttributeId;
using tenon::cuda::LaunchConfig;
using tenon::cuda::Stream;

constexpr int kInvalidValue = 1, kNoDevice = 100;

int number(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? 0 : std::atoi(text);
}

int said(const std::string& call) {
  if (const char* path = std::getenv("FAKE_GPU_LOG")) {
    if (std::FILE* file = std::fopen(path, "a")) {
      std::fprintf(file, "%s\n", call.c_str());
      std::fclose(file);
    }
  }
  return 0;
}

template <class Handle>
int make(Handle* handle) {
  static char object;
  *handle = reinterpret_cast<Handle>(&object);
  return 0;
}

int copy(void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
  return 0;
}

}  // namespace

#define FAKE(name, ...) extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__)

FAKE(cuInit, unsigned) { return number("FAKE_GPU") > 0 ? 0 : kNoDevice; }
FAKE(cuDriverGetVersion, int* version) { return *version = 12040, 0; }
FAKE(cuGetErrorName, int, const char** name) { return *name = "FAKE_ERROR", 0; }
FAKE(cuGetErrorString, int, const char** text) { return *text = "fake", 0; }
FAKE(cuDeviceGetCount, int* count) { return *count = 1, 0; }
FAKE(cuDeviceGet, int* device, int) { return *device = 0, 0; }
FAKE(cuDeviceGetName, char* name, int size, int) { return std::snprintf(name, static_cast<size_t>(size), "Fake GPU"), 0; }
FAKE(cuDeviceTotalMem_v2, size_t* bytes, int) { return *bytes = size_t{1} << 33, 0; }
FAKE(cuDeviceGetAttribute, int* value, int attribute, int) {
  switch (static_cast<DeviceAttribute>(attribute)) {
    case DeviceAttribute::kComputeCapabilityMajor: *value = number("FAKE_GPU") / 10; break;
    case DeviceAttribute::kComputeCapabilityMinor: *value = number("FAKE_GPU") % 10; break;
    case DeviceAttribute::kClockRate: *value = 1000000; break;
    case DeviceAttribute::kMultiprocessorCount: *value = 100; break;
    case DeviceAttribute::kSharedMemoryPerBlockOptin: *value = 227 << 10; break;
    case DeviceAttribute::kL2CacheSize: *value = 40 << 20; break;
  }
  return 0;
}
FAKE(cuDevicePrimaryCtxRetain, void** context, int) { return make(context); }
FAKE(cuDevicePrimaryCtxRelease_v2, int) { return 0; }
FAKE(cuCtxSetCurrent, void*) { return 0; }
FAKE(cuMemAlloc_v2, DevicePtr* address, size_t bytes) {
  bytes = (bytes + 1023) / 1024 * 1024;
  void* memory = std::aligned_alloc(1024, bytes);
  *address = reinterpret_cast<DevicePtr>(std::memset(memory, 0, bytes));
  return said("allocate");
}
FAKE(cuMemFree_v2, DevicePtr address) { return std::free(reinterpret_cast<void*>(address)), 0; }
FAKE(cuMemHostAlloc, void** address, size_t bytes, unsigned) { return *address = std::calloc(1, bytes), said("allocate"); }
FAKE(cuMemFreeHost, void* address) { return std::free(address), 0; }
FAKE(cuMemcpyHtoDAsync_v2, DevicePtr to, const void* from, size_t bytes, Stream) { return copy(reinterpret_cast<void*>(to), from, bytes); }
FAKE(cuMemcpyDtoHAsync_v2, void* to, DevicePtr from, size_t bytes, Stream) { return copy(to, reinterpret_cast<void*>(from), bytes); }
FAKE(cuMemcpyAsync, DevicePtr to, DevicePtr from, size_t bytes, Stream) {
  return copy(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), bytes);
}
FAKE(cuMemsetD8Async, DevicePtr to, unsigned char byte, size_t bytes, Stream) {
  return std::memset(reinterpret_cast<void*>(to), byte, bytes), 0;
}
FAKE(cuStreamCreate, void** stream, unsigned) { return make(stream); }
FAKE(cuStreamDestroy_v2, Stream) { return 0; }
FAKE(cuStreamSynchronize, Stream) { return 0; }
FAKE(cuEventCreate, void** event, unsigned) { return make(event); }
FAKE(cuEventDestroy_v2, void*) { return 0; }
FAKE(cuEventRecord, void*, Stream) { return 0; }
FAKE(cuEventSynchronize, void*) { return 0; }
FAKE(cuEventElapsedTime, float* milliseconds, void*, void*) { return *milliseconds = 0.01F, 0; }
FAKE(cuModuleLoadData, void** module, const char* image) {
  const bool is_ptx = std::strncmp(image, "//", 2) == 0;
  said(is_ptx ? "load ptx" : "load cubin");
  if (!is_ptx && std::strncmp(image, "\x7f" "ELF", 4) != 0) return kInvalidValue;
  return make(module), is_ptx ? number("FAKE_PTX") : 0;
}
FAKE(cuModuleUnload, void*) { return 0; }
FAKE(cuModuleGetFunction, void** function, void*, const char*) { return make(function); }
FAKE(cuFuncSetAttribute, void*, int, int) { return 0; }
FAKE(cuLaunchKernelEx, const LaunchConfig* launch, void*, void**, void**) {
  bool early = false;
  for (unsigned i = 0; i < launch->num_attributes; ++i)
    early = early || launch->attributes[i].id == LaunchAttributeId::kProgrammaticStreamSerialization;
  return said(early ? "launch early" : "launch");
}
FAKE(cuOccupancyMaxActiveClusters, int* count, void*, const LaunchConfig*) { return *count = 50, 0; }
FAKE(cuTensorMapEncodeTiled, void*, int, unsigned, void*, const uint64_t*, const uint64_t*, const unsigned*, const unsigned*, int, int, int, int) {
  return 0;
}
FAKE(cuTensorMapEncodeIm2col, void*, int, unsigned, void*, const uint64_t*, const uint64_t*, const int*, const int*, unsigned, unsigned, const unsigned*, int, int, int, int) {
  return 0;
}
FAKE(cuStreamBeginCapture_v2, Stream, int) { return said("record"); }
FAKE(cuStreamEndCapture, Stream, void** graph) { return make(graph); }
FAKE(cuGraphInstantiateWithFlags, void** exec, void*, unsigned long long) { return make(exec); }
FAKE(cuGraphLaunch, void*, Stream) { return said("replay"); }
FAKE(cuGraphExecDestroy, void*) { return 0; }
FAKE(cuGraphDestroy, void*) { return 0; }
