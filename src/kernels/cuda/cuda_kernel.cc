#include "kernels/cuda/cuda_kernel.h"

namespace tenon::kernels::cuda {

Status allow_shared_memory(const Device& device, Function function, int bytes) {
  return tenon::cuda::check(device.api().cuFuncSetAttribute(function, tenon::cuda::kFunctionMaxDynamicShared, bytes),
                            "asking for shared memory");
}

Status launch_kernel(const Device& device, Function function, void* stream, const Launch& launch, void** parameters) {
  using tenon::cuda::LaunchAttribute, tenon::cuda::LaunchAttributeId;
  LaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (launch.cluster > 1) {
    LaunchAttribute& a = attributes[count++];
    a.id = LaunchAttributeId::kClusterDimension;
    a.value.cluster[0] = launch.cluster;
    a.value.cluster[1] = a.value.cluster[2] = 1;
  }
  // Code of older generations does not wait by itself for what comes before it.
  if (launch.programmatic && device.code_capability() >= 90) {
    LaunchAttribute& a = attributes[count++];
    a.id = LaunchAttributeId::kProgrammaticStreamSerialization;
    a.value.programmatic = 1;
  }
  const tenon::cuda::LaunchConfig config = {.grid = {launch.grid[0], launch.grid[1], launch.grid[2]},
                                            .block = {launch.block[0], launch.block[1], launch.block[2]},
                                            .shared_bytes = launch.shared_bytes,
                                            .stream = static_cast<Stream>(stream),
                                            .attributes = attributes,
                                            .num_attributes = count};
  return tenon::cuda::check(device.api().cuLaunchKernelEx(&config, function, parameters, nullptr), "launching a kernel");
}

}  // namespace tenon::kernels::cuda
