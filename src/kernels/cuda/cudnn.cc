#include "kernels/cuda/cudnn.h"

#include <map>

#include "base/dynamic_library.h"

namespace tenon::cuda {
namespace {

Result<Cudnn> load_cudnn() {
  DynamicLibrary library("TENON_CUDNN", {"libcudnn.so.9", "/usr/local/cuda/lib64/libcudnn.so.9"});
  if (!library) {
    const std::string name = library.given().empty() ? "libcudnn.so.9" : library.given();
    return error(ErrorCode::kNoDevice, "cuDNN is needed (--tactics cudnn): {} cannot be opened; set TENON_CUDNN to its path", name);
  }
  Cudnn api;
#define TENON_CUDNN_FIND(name, parameters) library.find(#name, api.name);
  TENON_CUDNN_FUNCTIONS(TENON_CUDNN_FIND)
#undef TENON_CUDNN_FIND
  if (!library.missing().empty()) return error(ErrorCode::kNoDevice, "this cuDNN has no {}: version 9 is needed", library.missing());
  return api;
}

}  // namespace

Result<const Cudnn*> cudnn() {
  static const Result<Cudnn> loaded = load_cudnn();
  if (!loaded.ok()) return loaded.status();
  return &*loaded;
}

Result<CudnnDevice*> cudnn_device(const Device& device) {
  static std::mutex mutex;
  static std::map<int, CudnnDevice> devices;
  TENON_ASSIGN(const Cudnn* api, cudnn());
  const std::lock_guard lock(mutex);
  CudnnDevice& made = devices[device.ordinal()];
  if (made.handle != nullptr) return &made;
  TENON_TRY(device.use());
  if (const int result = api->cudnnCreate(&made.handle); result != 0)
    return error(ErrorCode::kInternal, "cuDNN cannot be started: status {}", result);
  return &made;
}

}  // namespace tenon::cuda
