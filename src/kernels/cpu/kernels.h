// The CPU kernels, one per file; cpu_kernels.cc lists them in order.
#pragma once

#include "kernels/cpu/cpu_kernel.h"

namespace tenon::kernels::cpu {

const CpuKernel& linear_int8_kernel();
const CpuKernel& linear_int8_quads_kernel();
const CpuKernel& linear_bf16_kernel();
const CpuKernel& linear_kernel();
const CpuKernel& depthwise_conv_kernel();
const CpuKernel& conv_pair_kernel();
const CpuKernel& winograd_conv_kernel(int outputs);  // 2 or 4: WinogradKernel
const CpuKernel& conv_kernel();
const CpuKernel& conv_int8_kernel();
const CpuKernel& conv_int8_quads_kernel();
const CpuKernel& conv_bf16_kernel();
const CpuKernel& pool_kernel();
const CpuKernel& attention_kernel();
const CpuKernel& attention_bf16_kernel();
const CpuKernel& disentangled_bias_kernel();
const CpuKernel& layer_norm_kernel();
const CpuKernel& layer_norm_bf16_kernel();
const CpuKernel& rms_norm_kernel();
const CpuKernel& rms_norm_bf16_kernel();
const CpuKernel& cast_kernel();
const CpuKernel& softmax_kernel();
const CpuKernel& embedding_kernel();
const CpuKernel& matmul_kernel();
const CpuKernel& pointwise_kernel();
const CpuKernel& reduce_kernel();
const CpuKernel& gather_kernel();
const CpuKernel& transpose_kernel();
const CpuKernel& expand_kernel();
const CpuKernel& count_tokens_kernel();
const CpuKernel& pack_tokens_kernel();
const CpuKernel& unpack_tokens_kernel();
const CpuKernel& segment_reduce_kernel();

}  // namespace tenon::kernels::cpu
