// THE ordered list of CPU kernels: of two that support a step, the earlier one is preferred.
#include "kernels/cpu/kernels.h"

namespace tenon::kernels {

std::span<const Kernel* const> cpu_kernel_list() {
  using namespace cpu;
  static const Kernel* const kList[] = {
      &linear_int8_kernel(),
      &linear_int8_quads_kernel(),
      &linear_bf16_kernel(),
      &linear_kernel(),
      &attention_kernel(),
      &attention_bf16_kernel(),
      &disentangled_bias_kernel(),
      &layer_norm_kernel(),
      &layer_norm_bf16_kernel(),
      &rms_norm_kernel(),
      &rms_norm_bf16_kernel(),
      &softmax_kernel(),
      &embedding_kernel(),
      &matmul_kernel(),
      &cast_kernel(),
      &pointwise_kernel(),
      &reduce_kernel(),
      &gather_kernel(),
      &transpose_kernel(),
      &expand_kernel(),
      &count_tokens_kernel(),
      &pack_tokens_kernel(),
      &unpack_tokens_kernel(),
      &segment_reduce_kernel(),
      &depthwise_conv_kernel(),
      &winograd_conv_kernel(4),
      &winograd_conv_kernel(2),
      &conv_kernel(),
      &conv_int8_kernel(),
      &conv_int8_quads_kernel(),
      &conv_bf16_kernel(),
      &pool_kernel(),
      &conv_pair_kernel(),
  };
  return kList;
}

}  // namespace tenon::kernels
