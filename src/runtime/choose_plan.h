// Which of an engine's plans a machine runs.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "engine/reader.h"

namespace tenon::runtime {

// How well a GPU runs a plan, worst first: not at all; by code that its driver translates from PTX; by machine code of
// an older GPU of its generation; by its own.
enum class Fit { kNone, kTranslated, kSameGeneration, kOwn };

// `capability`: 90 for 9.0. kNone for plans that are not for GPUs.
Fit fit_of(const engine::Plan& plan, int capability);

bool is_for_gpu(const engine::Plan& plan);
// 90 for "sm_90"; 0 for other targets.
int capability_of(std::string_view target);

struct GpuAtHand {
  std::string name;  // "NVIDIA H200"
  int capability = 0;
};

// The index of the plan to run. `wanted`: "auto", the best for this machine: its GPU's (the best fit, then the newest),
// else the CPU's; "cuda" or "cpu", one of those only; or a target of the engine by name. `gpu` is asked only where it
// matters. Errors: invalid-argument (the engine has no such target); no-device; engine-version (nothing in the engine
// runs here), which name the GPU, what the engine has, and the command that adds what is missing.
Result<int> choose_plan(const engine::EngineFile& file, std::string_view wanted,
                        const std::function<Result<GpuAtHand>()>& gpu);

}  // namespace tenon::runtime
