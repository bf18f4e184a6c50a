// The CUDA kernels, one function each, in the order in which they are asked.
#pragma once

#include "kernels/cuda/cuda_kernel.h"

namespace tenon::kernels::cuda {

const Kernel& upload_kernel();    // copy.cc
const Kernel& download_kernel();  // copy.cc
const Kernel& attention_row_kernel();   // attention_row.cc
const Kernel& attention_sm90_kernel();  // attention_sm90.cc
const Kernel& attention_sm80_kernel();  // attention_sm80.cc

const Kernel& linear_sm90_kernel();  // linear_sm90.cc
const Kernel& linear_sm80_kernel();  // linear_sm80.cc
// The text of linear_sm90_kernel's config that is estimated fastest for this many rows of x on a GPU with so many SMs: a
// planner asks once for each token bucket. The problem must be supported.
std::string best_linear_config(const Problem& problem, int64_t rows, int multiprocessors);

}  // namespace tenon::kernels::cuda
