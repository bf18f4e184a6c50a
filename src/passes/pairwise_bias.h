// Which biases of attention are computed from rows of tokens pair by pair, so that they may be computed at all
// positions while the rows themselves are packed: DeBERTa's disentangled attention adds products of queries and keys
// with vectors of their distance.
#pragma once

#include <set>
#include <string>

#include "passes/coordinates.h"

namespace tenon::passes {

// Adds to `nodes` what lies between rows of tokens [batch, seq, h] and `bias` [batch, heads|1, q_len, k_len]. False,
// and the reason, unless element [b, h, q, k] is computed from rows q and k of sequence b alone and `bias` is read by
// attentions only.
bool trace_pairwise_bias(Value* bias, const Dim& batch, const Dim& seq, std::set<const ir::Node*>& nodes,
                         std::string& reason);

}  // namespace tenon::passes
