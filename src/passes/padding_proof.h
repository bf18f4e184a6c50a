// Proof that a value is a padding mask: the one question behind padding removal.
//
// Exporters spell masks in many ways: (1 - m) * -10000, where(m, 0, -inf), products of [batch, seq, 1] and [batch, 1, seq],
// gathers of m at computed indices, comparisons of ids with a pad id or of positions with lengths. So spelling is not
// matched. One element of the value, at (batch b, query q, key k), is evaluated over an abstract domain instead: integers
// that follow the indices b, q and k, and numbers that depend on whether the mask keeps q and k. All that matters is which
// [batch, seq] value of zeros and ones the numbers depend on, and the table of what they are.
#pragma once

#include <array>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "passes/coordinates.h"
#include "passes/rewriter.h"

namespace tenon::passes {

// What an element is, as a function of the root mask's bits at (b, q) and (b, k): number[2 * bit_q + bit_k].
struct MaskTable {
  Value* root = nullptr;  // [batch, seq], zeros and ones; null: the element depends on no mask
  std::array<double, 4> number{};
  bool is_constant() const { return number[0] == number[1] && number[0] == number[2] && number[0] == number[3]; }
};

// The table of the element of `v` at `at`; the reason where none can be shown.
struct MaskProof {
  std::optional<MaskTable> table;
  std::string reason;
  std::set<int64_t> thresholds;  // the distances at which comparisons that were met may change their answer
};
// The index symbols run below the sizes of the axes of `v` that they index. With a `distance` the key stands so many positions
// after the query, and comparisons of the two are decided.
MaskProof evaluate_mask(Value* v, const std::vector<Coordinate>& at, std::optional<int64_t> distance = std::nullopt);

// A [batch, seq] mask and which of its two values keeps a position; and what is hidden besides, by position.
struct PaddingMask {
  Value* root = nullptr;  // null: positions alone decide; without causal and window nothing is hidden
  bool keeps_ones = true;
  bool causal = false;  // keys after the query are hidden
  int64_t window = 0;   // w > 0: keys more than w positions away are hidden
};

// Reads an attention's summand [batch|1, heads|1, query|1, key]: zero where key and query are kept and near enough, at most
// -9000 where the key is hidden. Queries that are hidden may hold anything. The reason where it is something else.
std::optional<PaddingMask> prove_padding_mask(Value* bias, std::string& reason);

// What an attention's bias [batch|1, heads|1, query|1, key|1] is the sum of.
std::vector<Value*> summands_of(Value* bias);

// True when `v` depends on no graph input's contents, only on shapes: the same for every request of these shapes.
bool depends_on_shapes_only(const Value* v);

}  // namespace tenon::passes
