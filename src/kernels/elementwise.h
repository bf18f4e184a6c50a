// Elementwise ops as programs (ops/pointwise_program.h), so that a kernel that runs programs runs them all.
#pragma once

#include "kernels/cpu/strided.h"
#include "kernels/kernel.h"
#include "ops/pointwise_program.h"

namespace tenon::kernels {

// The program of `pointwise`, or one of a single instruction for any other elementwise op. Errors: bad-model.
Result<ops::PointwiseProgram> elementwise_program(const Problem& problem);
// What it reads of its inputs: all of them, but of `pointwise` what its attributes say.
ops::PointwiseColumns columns_of(const Problem& problem);
// The next input of an elementwise step on the grid of its output; false when it does not broadcast to it.
inline bool add_to(cpu::Broadcast& grid, const ops::PointwiseColumns& columns, size_t input, std::span<const int64_t> shape) {
  return columns.is_part(input) ? grid.add_columns(shape, columns.width()) : grid.add(shape);
}

}  // namespace tenon::kernels
