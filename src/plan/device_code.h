// The machine code of a plan's GPU kernels.
#pragma once

#include <functional>

#include "plan/kernel_cache.h"
#include "plan/planner.h"

namespace tenon::plan {

// Compiles what the plan's kernels need and `cache` does not hold, several at once: cubins for its GPU, and where none of
// them needs that very GPU also PTX for newer ones. `progress` is told how much is
// done, from 0 to 1. Errors: no-device (no NVRTC), internal with the compiler's log.
Status compile_codes(PlannedModel& model, KernelCache& cache, const std::function<void(double)>& progress = {});

}  // namespace tenon::plan
