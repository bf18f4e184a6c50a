// Ids of tokens that follow from where a token stands: position ids, types that are constants.
#pragma once

#include <optional>
#include <vector>

#include "passes/rewriter.h"

namespace tenon::passes {

// At position s of the last axis, wherever the others are, the id is `ids[s]`; s itself where `ids` is empty.
struct PositionIds {
  std::vector<int64_t> ids;

  // True when the id is the position.
  bool counts() const;
};

// Follows `v` to an iota or to the constant table whose first entries it takes. Nothing: it depends on something else.
std::optional<PositionIds> trace_position_ids(const Value& v);

}  // namespace tenon::passes
