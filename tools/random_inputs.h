// Inputs for measuring and verifying an engine: valid for what each input means.
#pragma once

#include "tenon/runtime.h"
#include "tools/tensor_io.h"

namespace tenon::tools {

// One row per length: random ids below the table's size, a mask of ones up to the row's length, token types 0, positions
// 0, 1, 2 …; other float inputs are normal, other integers 0, or the row's length where they are one a row. Axes that are not
// batch or sequence get size 1.
NamedTensors random_inputs(const Engine& engine, const std::vector<int64_t>& lengths, int64_t seq, unsigned seed);

// The same for one input of any shape: rows are filled to their ends.
ir::Tensor random_input(const TensorInfo& in, const std::vector<int64_t>& shape, unsigned seed);

}  // namespace tenon::tools
