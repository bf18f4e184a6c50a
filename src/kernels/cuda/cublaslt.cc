#include "kernels/cuda/cublaslt.h"

#include <map>
#include <mutex>

#include "base/dynamic_library.h"

namespace tenon::cuda {
namespace {

Result<CublasLt> load_cublaslt() {
  DynamicLibrary library("TENON_CUBLASLT", {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", "/usr/local/cuda/lib64/libcublasLt.so.13",
                                            "/usr/local/cuda/lib64/libcublasLt.so.12"});
  if (!library) {
    const std::string name = library.given().empty() ? "libcublasLt.so of CUDA 12 or 13" : library.given();
    return error(ErrorCode::kNoDevice, "cuBLASLt is needed (--tactics cublaslt): {} cannot be opened; set TENON_CUBLASLT to its path", name);
  }
  CublasLt api;
#define TENON_CUBLASLT_FIND(name, parameters) library.find(#name, api.name);
  TENON_CUBLASLT_FUNCTIONS(TENON_CUBLASLT_FIND)
#undef TENON_CUBLASLT_FIND
  if (!library.missing().empty()) {
    return error(ErrorCode::kNoDevice, "this cuBLASLt has no {}: that of CUDA 12 or 13 is needed", library.missing());
  }
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
