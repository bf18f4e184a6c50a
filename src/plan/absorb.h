// Steps that compute the one right ahead of them too (Kernel::absorbs): attention over short texts its queries, keys and
// values, a depthwise conv the product of every pixel.
#pragma once

#include <functional>
#include <vector>

#include "engine/plan.h"
#include "kernels/kernel.h"
#include "plan/config_choice.h"

namespace tenon::plan {

// An entry of PlanStep::kernels for so many tokens at most, with its code in the plan.
using MakeChoice = std::function<engine::KernelChoice(const kernels::Kernel&, const kernels::Problem&, const kernels::Config&, int64_t max_tokens)>;

// Adds such kernels to the plan's finished steps, whose own `kernels` and `problems` stand in their order. Only where nothing
// else reads what is then not written.
void absorb_steps(engine::Plan& plan, const std::vector<const kernels::Kernel*>& kernels, const std::vector<kernels::Problem>& problems,
                  const Machine& machine, const MakeChoice& make_choice);

}  // namespace tenon::plan
