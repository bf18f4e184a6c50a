// A libcublasLt.so.13 without a GPU, beside the driver of cuda.cc: describes nothing, finds one algorithm for everything and
// multiplies nothing. FAKE_GPU_LOG gets "cublaslt" for each product.
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/cublaslt.h"

using tenon::cuda::CublasLtAlgorithm, tenon::cuda::CublasLtHandle, tenon::cuda::CublasLtHeuristic, tenon::cuda::CublasLtObject, tenon::cuda::Stream;

namespace {

template <class Handle>
int make(Handle* handle) {
  static char object;
  *handle = reinterpret_cast<Handle>(&object);
  return 0;
}

}  // namespace

#define FAKE(name, ...) extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__)

FAKE(cublasLtCreate, CublasLtHandle* handle) { return make(handle); }
FAKE(cublasLtMatmulDescCreate, CublasLtObject* made, int, int) { return make(made); }
FAKE(cublasLtMatmulDescDestroy, CublasLtObject) { return 0; }
FAKE(cublasLtMatmulDescSetAttribute, CublasLtObject, int, const void*, size_t) { return 0; }
FAKE(cublasLtMatrixLayoutCreate, CublasLtObject* made, int, uint64_t, uint64_t, int64_t) { return make(made); }
FAKE(cublasLtMatrixLayoutDestroy, CublasLtObject) { return 0; }
FAKE(cublasLtMatmulPreferenceCreate, CublasLtObject* made) { return make(made); }
FAKE(cublasLtMatmulPreferenceDestroy, CublasLtObject) { return 0; }
FAKE(cublasLtMatmulPreferenceSetAttribute, CublasLtObject, int, const void*, size_t) { return 0; }
FAKE(cublasLtMatmulAlgoGetHeuristic, CublasLtHandle, CublasLtObject, CublasLtObject, CublasLtObject, CublasLtObject, CublasLtObject, CublasLtObject,
     int, CublasLtHeuristic* found, int* count) {
  found[0] = {.algorithm = {}, .workspace = 1024, .state = 0, .waves = 1, .reserved = {}};
  return *count = 1, 0;
}
FAKE(cublasLtMatmul, CublasLtHandle, CublasLtObject, const void*, const void*, CublasLtObject, const void*, CublasLtObject, const void*, const void*,
     CublasLtObject, void*, CublasLtObject, const CublasLtAlgorithm*, void* workspace, size_t, Stream) {
  if (const char* path = std::getenv("FAKE_GPU_LOG")) {
    if (std::FILE* file = std::fopen(path, "a")) {
      std::fprintf(file, "%s\n", workspace != nullptr ? "cublaslt" : "cublaslt without workspace");
      std::fclose(file);
    }
  }
  return 0;
}
