#include "kernels/cuda/kernels.h"

namespace tenon::kernels {

std::span<const Kernel* const> cuda_kernel_list() {
  static const std::vector<const Kernel*> list = {
      &cuda::upload_kernel(),
      &cuda::download_kernel(),
      &cuda::attention_row_kernel(),
      &cuda::attention_sm90_kernel(),
      &cuda::attention_sm80_kernel(),
      &cuda::attention_f32_kernel(),
      &cuda::disentangled_bias_kernel(),
      &cuda::projected_attention_sm90_kernel(),
      &cuda::linear_sm90_kernel(),
      &cuda::linear_sm80_kernel(),
      &cuda::linear_narrow_kernel(),
      &cuda::linear_f32_sm90_kernel(),
      &cuda::linear_f32_kernel(),
      &cuda::matmul_kernel(),
      &cuda::conv_sm90_kernel(),
      &cuda::conv_image_kernel(),
      &cuda::plain_conv_kernel(),
      &cuda::pool_kernel(),
      &cuda::layer_norm_kernel(),
      &cuda::rms_norm_kernel(),
      &cuda::embedding_kernel(),
      &cuda::pointwise_kernel(),
      &cuda::softmax_kernel(),
      &cuda::reduce_kernel(),
      &cuda::view_kernel(),
      &cuda::gather_kernel(),
      &cuda::gather_elements_kernel(),
      &cuda::unpack_tokens_kernel(),
      &cuda::cumsum_kernel(),
  };
  return list;
}

}  // namespace tenon::kernels
