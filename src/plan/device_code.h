// The machine code of a plan's GPU kernels.
#pragma once

#include <functional>

#include "plan/planner.h"

namespace tenon::plan {

// Compiles what the plan's kernels need, several at once. `progress` is told how much is done, from 0 to 1.
// Errors: no-device (no NVRTC), internal with the compiler's log.
Status compile_codes(PlannedModel& model, const std::function<void(double)>& progress = {});

}  // namespace tenon::plan
