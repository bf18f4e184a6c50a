// Which steps overwrite what they read.
#pragma once

#include <vector>

#include "engine/plan.h"
#include "kernels/kernel.h"

namespace tenon::plan {

// Output 0 of a step takes the memory of an input that nothing reads after the step, where the kernel allows it.
// `kernels` and `problems`: of each step.
void reuse_in_place(engine::Plan& plan, const std::vector<const kernels::Kernel*>& kernels,
                    const std::vector<kernels::Problem>& problems);

}  // namespace tenon::plan
