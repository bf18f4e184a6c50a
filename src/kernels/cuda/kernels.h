// The CUDA kernels, one function each, in the order in which they are asked.
#pragma once

#include "kernels/cuda/cuda_kernel.h"

namespace tenon::kernels::cuda {}
