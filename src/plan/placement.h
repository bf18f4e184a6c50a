// Which work belongs on the host though a GPU has a kernel for it.
#pragma once

#include <unordered_set>

#include "ir/graph.h"

namespace tenon::plan {

// Integers are computed on the host, where sizes and errors are known. Not so what is only there for steps of the GPU and
// larger than what it is made of: expansions, and tensors over pairs of positions [.., seq, seq], such as the buckets of
// relative positions. They go along with the steps that read them.
std::unordered_set<const ir::Node*> host_nodes(const ir::Graph& graph);

}  // namespace tenon::plan
