#include "kernels/cuda/driver.h"

#include <map>
#include <memory>
#include <mutex>

#include "base/dynamic_library.h"

namespace tenon::cuda {
namespace {

// Functions whose current form has a suffix in the library.
const char* symbol_of(std::string_view name) {
  static const std::map<std::string_view, const char*> kVersioned = {
      {"cuDeviceTotalMem", "cuDeviceTotalMem_v2"},
      {"cuDevicePrimaryCtxRelease", "cuDevicePrimaryCtxRelease_v2"},
      {"cuMemAlloc", "cuMemAlloc_v2"},
      {"cuMemFree", "cuMemFree_v2"},
      {"cuMemcpyHtoDAsync", "cuMemcpyHtoDAsync_v2"},
      {"cuMemcpyDtoHAsync", "cuMemcpyDtoHAsync_v2"},
      {"cuStreamDestroy", "cuStreamDestroy_v2"},
      {"cuEventDestroy", "cuEventDestroy_v2"},
      {"cuStreamBeginCapture", "cuStreamBeginCapture_v2"},
  };
  const auto it = kVersioned.find(name);
  return it == kVersioned.end() ? name.data() : it->second;
}

Result<Driver> load_driver() {
  DynamicLibrary library(nullptr, {"libcuda.so.1"});
  if (!library) return error(ErrorCode::kNoDevice, "no NVIDIA driver on this machine (libcuda.so.1 cannot be opened)");
  Driver api;
#define TENON_CUDA_FIND(name, parameters) library.find(symbol_of(#name), api.name);
  TENON_CUDA_FUNCTIONS(TENON_CUDA_FIND)
#undef TENON_CUDA_FIND
  if (!library.missing().empty()) {
    return error(ErrorCode::kNoDevice, "the NVIDIA driver is too old: it has no {}, version 550 (CUDA 12.4) or newer is needed", library.missing());
  }
  if (const int result = api.cuInit(0); result != 0) {
    const char* name = "?";
    api.cuGetErrorName(result, &name);
    return error(ErrorCode::kNoDevice, "the NVIDIA driver finds no usable GPU ({})", name);
  }
  return api;
}

}  // namespace

Result<const Driver*> driver() {
  static const Result<Driver> loaded = load_driver();
  if (!loaded.ok()) return loaded.status();
  return &*loaded;
}

Status check(int result, const char* what) {
  if (result == 0) return {};
  const char *name = "?", *text = "";
  if (const auto api = driver(); api.ok()) {
    (*api)->cuGetErrorName(result, &name);
    (*api)->cuGetErrorString(result, &text);
  }
  constexpr int kOutOfMemory = 2;
  return error(result == kOutOfMemory ? ErrorCode::kOutOfMemory : ErrorCode::kInternal, "{}: {} ({})", what, name, text);
}

Result<const Device*> Device::open(int ordinal) {
  static std::mutex mutex;
  static std::map<int, std::unique_ptr<Device>> opened;
  const std::lock_guard lock(mutex);
  std::unique_ptr<Device>& device = opened[ordinal];
  if (device == nullptr) {
    std::unique_ptr<Device> made(new Device());
    TENON_TRY(made->init(ordinal));
    device = std::move(made);
  }
  return device.get();
}

Status Device::init(int ordinal) {
  TENON_ASSIGN(api_, driver());
  ordinal_ = ordinal;
  int count = 0, id = 0;
  TENON_TRY(check(api_->cuDeviceGetCount(&count), "counting GPUs"));
  if (ordinal < 0 || ordinal >= count) return error(ErrorCode::kNoDevice, "there is no GPU {}: {} found", ordinal, count);
  TENON_TRY(check(api_->cuDeviceGet(&id, ordinal), "opening the GPU"));
  char name[256] = {};
  TENON_TRY(check(api_->cuDeviceGetName(name, sizeof name, id), "reading the GPU's name"));
  name_ = name;
  TENON_TRY(check(api_->cuDeviceTotalMem(&memory_, id), "reading the GPU's memory"));
  TENON_TRY(check(api_->cuDriverGetVersion(&driver_version_), "reading the driver's version"));
  int major = 0, minor = 0;
  const auto read = [&](DeviceAttribute attribute, int& to) { return check(api_->cuDeviceGetAttribute(&to, static_cast<int>(attribute), id), "reading the GPU's attributes"); };
  TENON_TRY(read(DeviceAttribute::kComputeCapabilityMajor, major));
  TENON_TRY(read(DeviceAttribute::kComputeCapabilityMinor, minor));
  TENON_TRY(read(DeviceAttribute::kMultiprocessorCount, multiprocessors_));
  TENON_TRY(read(DeviceAttribute::kSharedMemoryPerBlockOptin, shared_memory_));
  capability_ = code_capability_ = 10 * major + minor;
  TENON_TRY(check(api_->cuDevicePrimaryCtxRetain(&context_, id), "creating the GPU's context"));
  return use();
}

int Device::attribute(DeviceAttribute attribute) const {
  int value = 0, id = 0;
  if (api_->cuDeviceGet(&id, ordinal_) != 0 || api_->cuDeviceGetAttribute(&value, static_cast<int>(attribute), id) != 0) return 0;
  return value;
}

std::string Device::target() const { return fmt::format("sm_{}", capability_); }

Device Device::with_code_of(int capability) const {
  Device copy = *this;
  copy.code_capability_ = capability;
  return copy;
}

Status Device::use() const { return check(api_->cuCtxSetCurrent(context_), "selecting the GPU"); }

namespace {
constexpr int kInterleaveNone = 0, kPromote256B = 3, kFillZeros = 0;
}  // namespace

Status encode_matrix(const Driver& api, TensorMap& map, TensorMapType type, DevicePtr data, int64_t rows, int64_t columns,
                     int64_t stride, int box_rows, int box_columns, Swizzle swizzle) {
  const uint64_t sizes[2] = {static_cast<uint64_t>(columns), static_cast<uint64_t>(rows)};
  const uint64_t strides[1] = {static_cast<uint64_t>(stride)};
  const unsigned box[2] = {static_cast<unsigned>(box_columns), static_cast<unsigned>(box_rows)};
  const unsigned element_strides[2] = {1, 1};
  return check(api.cuTensorMapEncodeTiled(&map, static_cast<int>(type), 2, reinterpret_cast<void*>(data), sizes, strides, box,
                                          element_strides, kInterleaveNone, static_cast<int>(swizzle), kPromote256B, kFillZeros),
               "describing a matrix for TMA");
}

Status encode_pixels(const Driver& api, TensorMap& map, TensorMapType type, const PixelMap& p, Swizzle swizzle) {
  // The driver counts axes from the innermost: channels, width, height, images.
  const auto channels = static_cast<uint64_t>(p.channels), height = static_cast<uint64_t>(p.size[0]),
             width = static_cast<uint64_t>(p.size[1]);
  const uint64_t sizes[4] = {channels, width, height, static_cast<uint64_t>(p.count)};
  const uint64_t pixel = channels * 2, strides[3] = {pixel, pixel * width, pixel * width * height};
  const int lower[2] = {p.first[1], p.first[0]}, upper[2] = {p.last[1], p.last[0]};
  const unsigned steps[4] = {1, static_cast<unsigned>(p.step[1]), static_cast<unsigned>(p.step[0]), 1};
  return check(api.cuTensorMapEncodeIm2col(&map, static_cast<int>(type), 4, reinterpret_cast<void*>(p.data), sizes, strides,
                                           lower, upper, static_cast<unsigned>(p.box_channels),
                                           static_cast<unsigned>(p.pixels), steps, kInterleaveNone,
                                           static_cast<int>(swizzle), kPromote256B, kFillZeros),
               "describing images for TMA");
}

}  // namespace tenon::cuda
