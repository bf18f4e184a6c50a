// cuBLASLt by our own declarations (CUDA Toolkit documentation, "cuBLASLt"), as much as is used; opened at run time, and only
// by builds with --tactics cublaslt and by their engines.
#pragma once

#include <cstdint>

#include "kernels/cuda/driver.h"

namespace tenon::cuda {

using CublasLtHandle = struct CublasLtHandleState*;
using CublasLtObject = void*;  // a description of a product, of a matrix or of what algorithms are wanted

struct CublasLtAlgorithm {
  uint64_t opaque[8];
};
struct CublasLtHeuristic {
  CublasLtAlgorithm algorithm;
  size_t workspace;  // bytes
  int state;         // 0: the rest is valid
  float waves;
  int reserved[4];
};

#define TENON_CUBLASLT_FUNCTIONS(F)                                                                                        \
  F(cublasLtCreate, (CublasLtHandle*))                                                                                     \
  F(cublasLtMatmulDescCreate, (CublasLtObject*, int, int))                                                                 \
  F(cublasLtMatmulDescDestroy, (CublasLtObject))                                                                           \
  F(cublasLtMatmulDescSetAttribute, (CublasLtObject, int, const void*, size_t))                                            \
  F(cublasLtMatrixLayoutCreate, (CublasLtObject*, int, uint64_t, uint64_t, int64_t))                                       \
  F(cublasLtMatrixLayoutDestroy, (CublasLtObject))                                                                         \
  F(cublasLtMatmulPreferenceCreate, (CublasLtObject*))                                                                     \
  F(cublasLtMatmulPreferenceDestroy, (CublasLtObject))                                                                     \
  F(cublasLtMatmulPreferenceSetAttribute, (CublasLtObject, int, const void*, size_t))                                      \
  F(cublasLtMatmulAlgoGetHeuristic, (CublasLtHandle, CublasLtObject, CublasLtObject, CublasLtObject, CublasLtObject,       \
                                     CublasLtObject, CublasLtObject, int, CublasLtHeuristic*, int*))                       \
  F(cublasLtMatmul, (CublasLtHandle, CublasLtObject, const void*, const void*, CublasLtObject, const void*, CublasLtObject, \
                     const void*, const void*, CublasLtObject, void*, CublasLtObject, const CublasLtAlgorithm*, void*,     \
                     size_t, Stream))

struct CublasLt {
#define TENON_CUBLASLT_MEMBER(name, parameters) int(*name) parameters = nullptr;
  TENON_CUBLASLT_FUNCTIONS(TENON_CUBLASLT_MEMBER)
#undef TENON_CUBLASLT_MEMBER
};

// Opened once per process. Errors: no-device, naming the library and how to say where it is.
Result<const CublasLt*> cublaslt();

// The library's handle for a GPU; made once per process. Errors: no-device, internal.
Result<CublasLtHandle> cublaslt_handle(const Device& device);

}  // namespace tenon::cuda
