// Elementwise ops as programs (ops/pointwise_program.h), so that a kernel that runs programs runs them all.
#pragma once

#include "kernels/kernel.h"
#include "ops/pointwise_program.h"

namespace tenon::kernels {

// The program of `pointwise`, or one of a single instruction for any other elementwise op. Errors: bad-model.
Result<ops::PointwiseProgram> elementwise_program(const Problem& problem);

}  // namespace tenon::kernels
