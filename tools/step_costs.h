// What the steps of an engine have to do: operations, and the bytes that they cannot help moving.
#pragma once

#include <string>
#include <vector>

#include "engine/plan.h"
#include "tools/tensor_io.h"

namespace tenon::tools {

struct StepCost {
  std::string name;     // of the value that the step makes first
  std::string op;       // "linear"
  std::string group;    // "GEMM", "attention", "norm", "bias+activation", "embedding" or "other"
  std::string factors;  // what is multiplied: "f32", "f16", "bf16", "int8" or "int8_quads"
  double flops = 0;
  double weight_bytes = 0;      // as packed; of tables the rows that are looked up
  double activation_bytes = 0;  // read and written, each value once
  double written_bytes = 0;     // of those
  std::vector<std::string> absorbers;  // kernels of this step that compute the one right ahead too
};

// For inputs of these sizes whose masks keep so many tokens. One entry for each step, in the order of the plan.
std::vector<StepCost> step_costs(const engine::Plan& plan, const NamedTensors& inputs, int64_t tokens);

}  // namespace tenon::tools
