// What each rewrite is worth: the engine built again without it, timed beside the engine as it is.
#pragma once

#include "tenon/runtime.h"
#include "tools/profile_report.h"
#include "tools/tensor_io.h"

namespace tenon::tools {

// One entry for each pass that changed something, in the order of the decisions. `model` is what the engine was built
// from. The engines without a pass lie in the folder for temporary files while they are timed. Progress gets a name and
// a part.
std::vector<PassWorth> measure_passes(const Engine& engine, const std::string& model, const NamedTensors& inputs,
                                      int threads, double seconds_each,
                                      const std::function<void(std::string_view, double)>& progress);

}  // namespace tenon::tools
