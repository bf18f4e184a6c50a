#include "text/truncation.h"

#include <algorithm>

namespace tenon::text {

Lengths truncate(Lengths lengths, size_t budget, Truncation strategy) {
  auto [first, second] = lengths;
  if (first + second <= budget) return lengths;
  switch (strategy) {
    case Truncation::kOnlyFirst:
      second = std::min(second, budget);
      return {budget - second, second};
    case Truncation::kOnlySecond:
      first = std::min(first, budget);
      return {first, budget - first};
    case Truncation::kLongestFirst:
      break;
  }
  // The shorter text stays whole while it fits beside one at least as long; the odd token goes to the longer.
  const size_t shorter = std::min(first, second);
  const size_t kept = std::min(shorter, budget / 2);
  return first <= second ? Lengths{kept, budget - kept} : Lengths{budget - kept, kept};
}

std::vector<std::pair<size_t, size_t>> cover(size_t count, size_t room, size_t stride) {
  std::vector<std::pair<size_t, size_t>> out;
  size_t begin = 0;
  while (true) {
    const size_t end = std::min(begin + room, count);
    out.emplace_back(begin, end);
    if (end == count) return out;
    begin += room - stride;
  }
}

}  // namespace tenon::text
