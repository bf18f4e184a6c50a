// Chains of reshapes and transposes, followed by what they do to a tensor's axes instead of by how they are spelled.
//
// A view is described by factors: the source's axes, split as finely as the question needs ([batch, seq, heads * dim] has
// factors batch, seq, heads, dim). Every reshape and transpose of the chain then only regroups and permutes factors, and two
// chains are the same when they end with the same grouping.
#pragma once

#include <optional>
#include <vector>

#include "passes/rewriter.h"

namespace tenon::passes {

// axes[i] lists the factors that make up axis i, outermost first. Factors of size 1 are left out: any reshape may add or
// drop them.
using Grouping = std::vector<std::vector<int>>;

struct Factors {
  std::vector<Dim> sizes;
  Grouping axes;
};

// The grouping after `node` (a reshape or transpose) is applied; nothing when an axis would cut through a factor.
std::optional<Factors> apply_view(const Factors& before, const Node& node);

// `axes` without factors of size 1, for comparing with a traced grouping.
Grouping without_units(const Grouping& axes, const std::vector<Dim>& sizes);

// The rows that a per-head tensor was made from.
struct HeadSource {
  Value* rows = nullptr;  // [batch, seq, width]
  int64_t column = 0;     // of head 0, dim 0
  double scale = 1;       // product of the scalar factors on the way
  int64_t group = 1;      // heads of v that read one head of the rows
};

// Reads `v` as heads of rows: v is [batch, heads, seq, dim], or [batch * heads, seq, dim], with the last two axes swapped
// when `transposed`. Each head of the rows may be repeated for a group of consecutive heads of v (grouped queries). Nothing
// when v is not such a view.
std::optional<HeadSource> trace_heads(Value* v, int64_t heads, int64_t dim, bool transposed);

// The width of the rows that the view chain above v starts from; nothing when it is not constant.
std::optional<int64_t> source_width(Value* v);

// The last value of the chain of single-use views below `context` [batch, heads, seq, dim] (or [batch * heads, seq, dim])
// that holds whole rows: [batch, seq, heads * dim], or flattened to two axes, or the same with the sequence first.
struct MergedHeads {
  Value* rows = nullptr;  // null: there is none
  bool sequence_first = false;
};
MergedHeads find_merged_heads(Value* context, const Dim& batch, const Dim& heads, const Dim& seq, const Dim& dim);

// A gather or slice of one position along an axis that a view split off the columns of its source: position `index` of
// `parts` equal column blocks. What remains of the view permutes [a, b, heads, dim], and regroups it.
struct ColumnBlock {
  Value* source = nullptr;  // [a, b, parts * width]
  int64_t begin = 0, width = 0;
  int64_t dim = 0;             // width = heads * dim, as the view splits it
  std::vector<int64_t> order;  // the axes [a, b, heads, dim] in the order that the result has them
};
std::optional<ColumnBlock> trace_column_block(const Node& node);

}  // namespace tenon::passes
