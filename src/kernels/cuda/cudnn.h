// cuDNN 9 by our own declarations (NVIDIA cuDNN documentation, "cudnn_cnn", "cudnn_ops"), as much as is used; opened at run
// time, and only by builds with --tactics cudnn and by their engines.
#pragma once

#include <mutex>

#include "kernels/cuda/driver.h"

namespace tenon::cuda {

using CudnnHandle = struct CudnnHandleState*;
using CudnnObject = void*;  // a description of a tensor, of filters, of a convolution or of an activation

struct CudnnAlgorithm {
  int algorithm, status;  // 0: the rest is valid
  float milliseconds;
  size_t workspace;  // bytes
  int deterministic, math, reserved[3];
};

#define TENON_CUDNN_FUNCTIONS(F)                                                                                            \
  F(cudnnCreate, (CudnnHandle*))                                                                                            \
  F(cudnnSetStream, (CudnnHandle, Stream))                                                                                  \
  F(cudnnCreateTensorDescriptor, (CudnnObject*))                                                                            \
  F(cudnnDestroyTensorDescriptor, (CudnnObject))                                                                            \
  F(cudnnSetTensor4dDescriptor, (CudnnObject, int, int, int, int, int, int))                                                \
  F(cudnnCreateFilterDescriptor, (CudnnObject*))                                                                            \
  F(cudnnDestroyFilterDescriptor, (CudnnObject))                                                                            \
  F(cudnnSetFilter4dDescriptor, (CudnnObject, int, int, int, int, int, int))                                                \
  F(cudnnCreateConvolutionDescriptor, (CudnnObject*))                                                                       \
  F(cudnnDestroyConvolutionDescriptor, (CudnnObject))                                                                       \
  F(cudnnSetConvolution2dDescriptor, (CudnnObject, int, int, int, int, int, int, int, int))                                 \
  F(cudnnSetConvolutionMathType, (CudnnObject, int))                                                                        \
  F(cudnnCreateActivationDescriptor, (CudnnObject*))                                                                        \
  F(cudnnDestroyActivationDescriptor, (CudnnObject))                                                                        \
  F(cudnnSetActivationDescriptor, (CudnnObject, int, int, double))                                                          \
  F(cudnnGetConvolutionForwardAlgorithm_v7, (CudnnHandle, CudnnObject, CudnnObject, CudnnObject, CudnnObject, int, int*,     \
                                             CudnnAlgorithm*))                                                              \
  F(cudnnConvolutionBiasActivationForward, (CudnnHandle, const void*, CudnnObject, const void*, CudnnObject, const void*,    \
                                            CudnnObject, int, void*, size_t, const void*, CudnnObject, const void*,         \
                                            CudnnObject, const void*, CudnnObject, CudnnObject, void*))

struct Cudnn {
#define TENON_CUDNN_MEMBER(name, parameters) int(*name) parameters = nullptr;
  TENON_CUDNN_FUNCTIONS(TENON_CUDNN_MEMBER)
#undef TENON_CUDNN_MEMBER
};

// Opened once per process. Errors: no-device, naming the library and how to say where it is.
Result<const Cudnn*> cudnn();

// A GPU's handle, made once per process. Its stream is that of the launch which holds the mutex.
struct CudnnDevice {
  CudnnHandle handle = nullptr;
  std::mutex mutex;
};
// Errors: no-device, internal.
Result<CudnnDevice*> cudnn_device(const Device& device);

}  // namespace tenon::cuda
