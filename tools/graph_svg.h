// A picture of a graph before and after compilation, side by side.
#pragma once

#include <string>

#include "ir/graph.h"

namespace tenon::tools {

// Nodes in topological layers from top to bottom, constants left out; colours by kind of work (products, attention, norms,
// elementwise, data movement). Graphs of thousands of nodes make tall pictures, not wide ones.
std::string draw_svg(const ir::Graph& before, const ir::Graph& after);

}  // namespace tenon::tools
