// Which values of a graph are rows of tokens, and who reads rows that a padding mask hides.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "passes/padding_proof.h"

namespace tenon::passes {

// How a node takes part in the packed computation.
enum class TokenRole {
  kSource,   // embedding: makes rows from [batch, seq] indices
  kRowWise,  // each row from the same rows of its operands
  kAttention,
  kBias,     // of attention, by the places of its rows: no rows itself
  kAlias,    // a product with the mask, or a where by it: on kept rows, its operand
  kRowRead,  // reads rows at fixed positions: slice or gather along the sequence
  kReduce,   // sums or maxima over the sequence that masked rows do not reach
  kAnyRead,  // reads rows at any position: unpacks them first
};

struct TokenFlow {
  // Nodes that take part, in order of the graph, and what they do.
  std::vector<std::pair<Node*, TokenRole>> nodes;
  // Values [batch, seq, …] that are rows of tokens.
  std::map<const Value*, Value*> rows;  // value -> the value whose kept rows it has (itself, or an alias's operand)
  std::vector<int64_t> keep_positions;  // fixed positions that are read by index, e.g. 0 for CLS
  std::vector<Value*> outputs;          // rows that are graph outputs
};

// Follows rows from the sources to the outputs. The nodes `padded` may read rows at any position, whatever is in hidden rows.
// Nothing, and the reason, when something behind the first attention reads masked positions in a way that packing would change.
std::optional<TokenFlow> trace_tokens(Graph& graph, const PaddingMask& mask, const std::set<const Node*>& padded,
                                      std::string& reason);

// The position along the sequence that a kRowRead node reads: slice [p, p+1) or gather at a constant.
std::vector<int64_t> positions_read(const Node& node);

}  // namespace tenon::passes
