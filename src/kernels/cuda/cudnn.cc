#include "kernels/cuda/cudnn.h"

#include <dlfcn.h>

#include <map>

#include "base/env.h"

namespace tenon::cuda {
namespace {

Result<Cudnn> load_cudnn() {
  void* library = nullptr;
  const std::string given = env("TENON_CUDNN");
  if (!given.empty()) library = dlopen(given.c_str(), RTLD_NOW | RTLD_LOCAL);
  for (const char* name : {"libcudnn.so.9", "/usr/local/cuda/lib64/libcudnn.so.9"})
    if (library == nullptr && given.empty()) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const std::string name = given.empty() ? "libcudnn.so.9" : given;
    return error(ErrorCode::kNoDevice, "cuDNN is needed (--tactics cudnn): {} cannot be opened; set TENON_CUDNN to its path", name);
  }
  Cudnn api;
  std::string missing;
#define TENON_CUDNN_FIND(name, parameters)                               \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, #name)); \
  if (api.name == nullptr && missing.empty()) missing = #name;
  TENON_CUDNN_FUNCTIONS(TENON_CUDNN_FIND)
#undef TENON_CUDNN_FIND
  if (!missing.empty()) return error(ErrorCode::kNoDevice, "this cuDNN has no {}: version 9 is needed", missing);
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
