// A plan's step as kernels see it.
#pragma once

#include "engine/plan.h"
#include "kernels/kernel.h"

namespace tenon::runtime {

// Types of inputs are those of the graph, also where the weight is stored packed.
kernels::Problem problem_of(const engine::Plan& plan, const engine::PlanStep& step);

}  // namespace tenon::runtime
