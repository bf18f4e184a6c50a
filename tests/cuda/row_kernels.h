// What the tests of the row, elementwise and moving kernels share.
#pragma once

#include "tests/cuda/run_cuda_kernel.h"

namespace tenon::test {

inline const std::vector<DType> kRowTypes{DType::kF16, DType::kBF16, DType::kF32};

// Statistics are sums of many terms in f32; 16-bit results are rounded once, from values that the kernel's order of
// sums and fast functions moved a little.
inline Tolerance allowed_for(DType dtype) { return tolerance(dtype) * (dtype == DType::kF32 ? 8 : 2); }

inline void expect_like_reference(const kernels::Kernel& kernel, const Step& step, Tolerance allowed) {
  expect_like_reference(*kernel.as_cuda(), step, allowed);
}

inline std::string declined(const kernels::Kernel& kernel, const Step& step) {
  const auto built = build(step);
  return built.ok() ? kernel.supports((*built)->problem).reason : "not a valid op: " + built.status().message();
}

}  // namespace tenon::test
