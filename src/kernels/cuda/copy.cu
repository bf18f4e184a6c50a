// Small tensors between page-locked host memory and the device's, all in one kernel: it reads and writes the host's memory
// over the bus by itself, where each copy by the copy engine would be a node of its own in the chain of kernels.
#include "grid_args.cuh"
#include "pdl.cuh"

// A row of blocks for each tensor.
extern "C" __global__ void copy_across(const __grid_constant__ CopyAcrossArgs args) {
  allow_next_kernel();
  wait_for_previous_kernels();
  const auto& part = args.parts[blockIdx.y];
  const long long thread = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
  const long long vectors = part.bytes / 16;
  const auto* x = static_cast<const uint4*>(part.x);
  auto* y = static_cast<uint4*>(part.y);
  for (long long i = thread; i < vectors; i += threads) y[i] = x[i];
  for (long long i = vectors * 16 + thread; i < part.bytes; i += threads) {
    static_cast<uint8_t*>(part.y)[i] = static_cast<const uint8_t*>(part.x)[i];
  }
}
