// The layers of an engine as trtexec tells of them: by the names of the model's nodes.
#pragma once

#include <map>
#include <string>

#include "engine/plan.h"

namespace tenon::tools {

// What each step is called, by the name of its first output (which profilers are told): the model's nodes that it
// computes,
// "/0/Conv + /1/Relu"; with that output's name where several steps come from the same nodes, or none.
std::map<std::string, std::string> layer_names(const engine::Plan& plan);

// {"Layers": […], "Bindings": […]} as --exportLayerInfo writes it; `detailed`: objects instead of names. Sizes that a
// run decides are -1.
std::string layer_info(const engine::Plan& plan, bool detailed);

}  // namespace tenon::tools
