#include "plan/input_roles.h"

#include <algorithm>
#include <unordered_set>
#include <vector>

namespace tenon::plan {
namespace {

using ir::Op;

// Ops that pass their first input's elements on unchanged.
bool moves_elements(Op op) {
  return op == Op::k_reshape || op == Op::k_cast || op == Op::k_gather || op == Op::k_slice || op == Op::k_transpose || op == Op::k_expand;
}

// The rows of the table that input `use.input` of a node indexes; 0: it is no index.
int64_t rows_indexed(const ir::Use& use) {
  const ir::Node& node = *use.node;
  int table = -1;
  int64_t axis = 0;
  if (node.is(Op::k_embedding)) {
    const bool norm = node.attrs().integer("norm") != 0;
    const int pairs = (node.num_inputs() - (norm ? 2 : 0)) / 2;
    if (use.input % 2 == 0 && use.input / 2 < pairs) table = use.input + 1;
  } else if (node.is(Op::k_gather) && use.input == 1) {
    table = 0;
    axis = node.attrs().integer("axis");
  }
  const ir::Value* data = table >= 0 ? node.input(table) : nullptr;
  if (data == nullptr || data->rank() == 0) return 0;
  if (axis < 0) axis += data->rank();
  const ir::Dim& rows = data->shape()[static_cast<size_t>(std::clamp<int64_t>(axis, 0, data->rank() - 1))];
  // Small integer tensors that are gathered from are shape arithmetic, not tables.
  return data->rank() >= 2 && rows.is_const() ? rows.value() : 0;
}

}  // namespace

std::string usual_role(std::string_view name) {
  if (name == "input_ids" || name == "attention_mask" || name == "token_type_ids" || name == "position_ids") return std::string(name);
  if (name == "segment_ids") return "token_type_ids";
  if (name == "input_mask") return "attention_mask";
  return "";
}

int64_t index_limit(const ir::Value& input) {
  int64_t limit = 0;
  std::vector<const ir::Value*> open = {&input};
  std::unordered_set<const ir::Value*> seen = {&input};
  while (!open.empty()) {
    const ir::Value* value = open.back();
    open.pop_back();
    for (const ir::Use& use : value->uses()) {
      if (const int64_t rows = rows_indexed(use); rows > 0) limit = limit == 0 ? rows : std::min(limit, rows);
      const ir::Value* moved = use.input == 0 && moves_elements(use.node->op()) ? use.node->output() : nullptr;
      if (moved != nullptr && seen.insert(moved).second) open.push_back(moved);
    }
  }
  return limit;
}

}  // namespace tenon::plan
