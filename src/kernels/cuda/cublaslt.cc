#include "kernels/cuda/cublaslt.h"

#include <dlfcn.h>

#include <map>
#include <mutex>

#include "base/env.h"

namespace tenon::cuda {
namespace {

Result<CublasLt> load_cublaslt() {
  void* library = nullptr;
  const std::string given = env("TENON_CUBLASLT");
  if (!given.empty()) library = dlopen(given.c_str(), RTLD_NOW | RTLD_LOCAL);
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", "/usr/local/cuda/lib64/libcublasLt.so.13",
                           "/usr/local/cuda/lib64/libcublasLt.so.12"}) {
    if (library == nullptr && given.empty()) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) {
    const std::string name = given.empty() ? "libcublasLt.so of CUDA 12 or 13" : given;
    return error(ErrorCode::kNoDevice, "cuBLASLt is needed (--tactics cublaslt): {} cannot be opened; set TENON_CUBLASLT to its path", name);
  }
  CublasLt api;
  std::string missing;
#define TENON_CUBLASLT_FIND(name, parameters)                            \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, #name)); \
  if (api.name == nullptr && missing.empty()) missing = #name;
  TENON_CUBLASLT_FUNCTIONS(TENON_CUBLASLT_FIND)
#undef TENON_CUBLASLT_FIND
  if (!missing.empty()) return error(ErrorCode::kNoDevice, "this cuBLASLt has no {}: that of CUDA 12 or 13 is needed", missing);
  return api;
}

}  // namespace

Result<const CublasLt*> cublaslt() {
  static const Result<CublasLt> loaded = load_cublaslt();
  if (!loaded.ok()) return loaded.status();
  return &*loaded;
}

Result<CublasLtHandle> cublaslt_handle(const Device& device) {
  static std::mutex mutex;
  static std::map<int, CublasLtHandle> handles;
  TENON_ASSIGN(const CublasLt* api, cublaslt());
  const std::lock_guard lock(mutex);
  CublasLtHandle& handle = handles[device.ordinal()];
  if (handle != nullptr) return handle;
  TENON_TRY(device.use());
  if (const int result = api->cublasLtCreate(&handle); result != 0)
    return error(ErrorCode::kInternal, "cuBLASLt cannot be started: status {}", result);
  return handle;
}

}  // namespace tenon::cuda
