// Counts over a graph for given sizes: operations, bytes written, FLOPs.
#pragma once

#include <map>
#include <string>

#include "ir/graph.h"

namespace tenon::tools {

struct GraphStats {
  std::map<std::string, int> ops;   // by operator; constants and their expressions left out
  int launches = 0;                 // nodes that compute at run time (reshapes are views)
  double flops = 0;
  double intermediate_bytes = 0;    // written by those nodes, outputs included
  double parameters = 0;            // elements of constants
};

// Symbols: "batch" and "seq" by position in the first input's shape.
GraphStats measure_graph(const ir::Graph& graph, int64_t batch, int64_t seq);

// The value of a size for those symbols; 0 where it cannot be told.
int64_t evaluate_size(const ir::Graph& graph, const ir::Dim& dim, int64_t batch, int64_t seq);

}  // namespace tenon::tools
