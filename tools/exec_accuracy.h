// Outputs of a run beside files of what they should be: `--loadRefOutputs` of `tenon exec`.
#pragma once

#include <string>

#include "tools/exec_options.h"
#include "tools/tensor_io.h"

namespace tenon::tools {

// How far `computed` is from `expected`, which are alike in type and shape, by `algorithm`: "l0", the part of the
// elements that are further away than atol + rtol |expected|; "l1", the mean distance; "l2", the root of the mean
// square; "lInf", the greatest; "cos", 1 - the cosine between them. NaN on one side only is infinitely far.
double accuracy_loss(const ir::Tensor& computed, const ir::Tensor& expected, const std::string& algorithm, double atol,
                     double rtol);

// Compares the outputs that --loadRefOutputs names with its raw files, and logs each loss. Errors: invalid-argument (no
// such output), not-found, io, bad-input (a file of another size; a loss above --accuracyThreshold, which names the
// worst output).
Status check_accuracy(const ExecOptions& options, const NamedTensors& outputs);

}  // namespace tenon::tools
