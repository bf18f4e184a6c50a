// Masks from tables (padding_proof.h): what a bias hides at each distance between query and key.
#include <algorithm>
#include <map>

#include "passes/padding_proof.h"

namespace tenon::passes {
namespace {

constexpr double kHidden = -9000;  // masks of -10000 are the weakest in use

// What a mask does to keys at one distance from their query.
struct AtDistance {
  bool hidden = false;  // whatever the padding is
  PaddingMask padding = {};  // else
};

std::optional<AtDistance> read_table(const MaskTable& table, std::string& reason) {
  const auto& n = table.number;
  if (table.is_constant()) {
    if (n[0] == 0) return AtDistance{};
    if (n[0] <= kHidden) return AtDistance{.hidden = true};
    reason = fmt::format("it adds {}", n[0]);
    return std::nullopt;
  }
  // bits: query * 2 + key. Ones kept: query 1 and key 1 shows, query 1 and key 0 hides; the mirror image for zeros
  // kept.
  if (std::ranges::all_of(n, [](double v) { return v <= kHidden; })) return AtDistance{.hidden = true};
  if (n[3] == 0 && n[2] <= kHidden) return AtDistance{.padding = {table.root, true}};
  if (n[0] == 0 && n[1] <= kHidden) return AtDistance{.padding = {table.root, false}};
  reason = fmt::format("kept keys get {} and hidden ones {}", n[3], n[2]);
  return std::nullopt;
}

// Distances [first, last] of those seen, [lowest, highest], are visible, those at the ends for all that is beyond.
// False: not what causal and window can say.
bool set_visible(int64_t first, int64_t last, int64_t lowest, int64_t highest, PaddingMask& mask) {
  mask.causal = last == 0 && last < highest;
  if (first == lowest) return last == highest || mask.causal;
  mask.window = -first;
  return first < 0 && last < highest && (mask.causal || last == -first);
}

}  // namespace

std::optional<PaddingMask> prove_padding_mask(Value* bias, std::string& reason) {
  const std::array<Coordinate, 4> element = {Coordinate::batch(), Coordinate::any(), Coordinate::query(),
                                             Coordinate::key()};
  const std::vector<Coordinate> at = broadcast_at(*bias, {element.begin(), element.end()});
  // Between two thresholds every distance gives the same table: one distance of each kind is looked at.
  std::map<int64_t, AtDistance> seen;
  std::set<int64_t> pending{0};
  while (!pending.empty()) {
    const int64_t distance = *pending.begin();
    pending.erase(pending.begin());
    const MaskProof proof = evaluate_mask(bias, at, distance);
    if (!proof.table) {
      reason = proof.reason;
      return std::nullopt;
    }
    const auto table = read_table(*proof.table, reason);
    if (!table) return std::nullopt;
    seen[distance] = *table;
    for (const int64_t threshold : proof.thresholds)
      for (const int64_t next : {threshold - 1, threshold, threshold + 1})
        if (!seen.contains(next)) pending.insert(next);
    if (seen.size() > 64) {
      reason = "it depends on positions in too many ways";
      return std::nullopt;
    }
  }
  std::optional<PaddingMask> mask;
  int64_t first = 0, last = 0, visible = 0;
  for (const auto& [distance, table] : seen) {
    if (table.hidden) continue;
    if (!mask) first = distance;
    if (mask && (mask->root != table.padding.root || mask->keeps_ones != table.padding.keeps_ones)) {
      reason = "padding counts at some distances only";
      return std::nullopt;
    }
    mask = table.padding;
    last = distance;
    ++visible;
  }
  const auto between = std::distance(seen.lower_bound(first), seen.upper_bound(last));
  if (!mask || between != visible || !set_visible(first, last, seen.begin()->first, seen.rbegin()->first, *mask)) {
    reason = "it hides positions that are neither after the query nor beyond a window";
    return std::nullopt;
  }
  return mask;
}

std::vector<Value*> summands_of(Value* bias) {
  if (!bias->is(Op::k_add) || bias->rank() != 4) return {bias};
  std::vector<Value*> summands = summands_of(bias->producer()->input(0));
  for (Value* v : summands_of(bias->producer()->input(1))) summands.push_back(v);
  return summands;
}

bool depends_on_shapes_only(const Value* v) {
  std::set<const Value*> seen;
  std::vector<const Value*> pending{v};
  while (!pending.empty()) {
    const Value* next = pending.back();
    pending.pop_back();
    if (next == nullptr || !seen.insert(next).second) continue;
    if (next->is_input()) return false;
    for (const Value* input : next->producer()->inputs()) pending.push_back(input);
  }
  return true;
}

}  // namespace tenon::passes
