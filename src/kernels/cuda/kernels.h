// The CUDA kernels, one function each, in the order in which they are asked.
#pragma once

#include "kernels/cuda/cuda_kernel.h"

namespace tenon::kernels::cuda {

inline constexpr size_t kMostCopies = 32;  // tensors in a step of the two
const Kernel& upload_kernel();             // copy.cc
const Kernel& download_kernel();           // copy.cc
const Kernel& attention_row_kernel();   // attention_row.cc
const Kernel& attention_sm90_kernel();  // attention_sm90.cc
const Kernel& attention_sm80_kernel();  // attention_sm80.cc
inline constexpr int kShortRows = 128;  // of a sequence that the next takes
const Kernel& projected_attention_sm90_kernel();  // projected_attention_sm90.cc
const Kernel& attention_f32_kernel();   // attention_f32.cc
const Kernel& disentangled_bias_kernel();  // disentangled_bias.cc

const Kernel& linear_sm90_kernel();  // linear_sm90.cc
const Kernel& linear_sm80_kernel();  // linear_sm80.cc
const Kernel& linear_narrow_kernel();  // linear_narrow.cc
const Kernel& linear_f32_sm90_kernel();  // linear_f32_sm90.cc
const Kernel& linear_f32_kernel();     // linear_sm80.cc
const Kernel& matmul_kernel();         // matmul.cc: linear too
// The text of linear_sm90_kernel's config that is estimated fastest for this many rows of x on a GPU with so many SMs: a
// planner asks once for each token bucket. The problem must be supported.
std::string best_linear_config(const Problem& problem, int64_t rows, int multiprocessors);

const Kernel& conv_sm90_kernel();   // conv_sm90.cc
const Kernel& conv_image_kernel();  // conv_image.cc
const Kernel& plain_conv_kernel();  // windows.cc
const Kernel& pool_kernel();        // windows.cc

const Kernel& layer_norm_kernel();     // norm.cc
const Kernel& rms_norm_kernel();       // norm.cc
const Kernel& embedding_kernel();      // embedding.cc
const Kernel& pointwise_kernel();      // pointwise.cc: every elementwise op and cast
const Kernel& softmax_kernel();        // reduce.cc
const Kernel& reduce_kernel();         // reduce.cc: segment_reduce too
const Kernel& view_kernel();           // movement.cc: transpose, expand, slice, concat
const Kernel& gather_kernel();         // movement.cc: gather_nd too
const Kernel& gather_elements_kernel();  // movement.cc
const Kernel& unpack_tokens_kernel();  // movement.cc
const Kernel& cumsum_kernel();         // cumsum.cc

}  // namespace tenon::kernels::cuda
