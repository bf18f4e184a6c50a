// What a processor can do at most: rates of multiply-adds and of bytes.
#pragma once

#include <string>

#include "base/thread_pool.h"
#include "kernels/cuda/driver.h"
#include "ops/quantize.h"

namespace tenon::tools {

// Zero: not known.
struct Limits {
  std::string device;
  double f32 = 0, tf32 = 0, bf16 = 0, int8 = 0;  // operations a second, two a multiply-add; bf16: f16's too
  double memory = 0, cache = 0;                  // bytes a second
  double held = 0;                               // bytes that stay in a cache until they are used again

  double operations(const std::string& factors) const {
    if (ops::are_integers(factors)) return int8;
    return factors == "bf16" || factors == "f16" ? bf16 : factors == "tf32" ? tf32 : factors == "f32" ? f32 : 0;
  }
};

// Of all threads of a pool together, measured in about half a second; int8 as builds on this CPU have it.
Limits measure_cpu(ThreadPool& pool);
// Operations by the GPU's highest clock and what its multiprocessors are documented to do in a clock (NVIDIA's
// architecture white papers, without sparsity), bytes by copying. f32 is multiplied in three products of tf32 where
// that is faster (linear_f32_sm90.cu).
Limits measure_gpu(const cuda::Device& device);

}  // namespace tenon::tools
