#include "kernels/cuda/kernels.h"

namespace tenon::kernels {

std::span<const Kernel* const> cuda_kernel_list() {
  static const std::vector<const Kernel*> list = {
      &cuda::upload_kernel(),
      &cuda::download_kernel(),
      &cuda::attention_row_kernel(),
      &cuda::attention_sm90_kernel(),
      &cuda::attention_sm80_kernel(),
      &cuda::linear_sm90_kernel(),
      &cuda::linear_sm80_kernel(),
  };
  return list;
}

}  // namespace tenon::kernels
