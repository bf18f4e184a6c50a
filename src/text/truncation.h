// How many tokens of each text stay, and where windows lie.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "tenon/tokenizer.h"

namespace tenon::text {

struct Lengths {
  size_t first, second;
};

// The lengths to cut texts of `lengths` tokens to, so that both have at most `budget` together. A side that is too
// short to give up enough (kOnlyFirst, kOnlySecond) gives all, and the other side the rest.
Lengths truncate(Lengths lengths, size_t budget, Truncation strategy);

// Token ranges [begin, end) of at most `room` tokens that cover `count` tokens, neighbours sharing `stride`; `stride`
// is less than `room`. One empty window when there is nothing to cover.
std::vector<std::pair<size_t, size_t>> cover(size_t count, size_t room, size_t stride);

}  // namespace tenon::text
