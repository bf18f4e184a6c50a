#include "passes/position_ids.h"

#include "ops/interpret.h"

namespace tenon::passes {
namespace {

constexpr int64_t kLongestTable = int64_t{1} << 20;

// Has the last axis of `v` alone.
bool is_line(const Value& v) {
  for (int axis = 0; axis + 1 < v.rank(); ++axis)
    if (v.shape()[static_cast<size_t>(axis)] != Dim(1)) return false;
  return v.rank() >= 1;
}

bool along_last_axis(const Node& node, std::string_view attribute, int rank) {
  const int64_t axis = node.attrs().integer(attribute);
  return axis == rank - 1 || axis == -1;
}

std::optional<PositionIds> read_table(const Value& v) {
  const bool integers = v.dtype() == DType::kI32 || v.dtype() == DType::kI64;
  if (!integers || !is_line(v) || !v.shape().back().is_const() || v.shape().back().value() > kLongestTable || !ops::is_constant_expression(v))
    return std::nullopt;
  const auto tensor = ops::evaluate_constant(v);
  if (!tensor.ok()) return std::nullopt;
  PositionIds table;
  for (int64_t i = 0; i < tensor->numel(); ++i) table.ids.push_back(tensor->int_at(i));
  return table;
}

// table[ids]
std::optional<PositionIds> look_up(const Value& table, const Value& ids) {
  const auto values = read_table(table);
  const auto at = is_line(ids) ? trace_position_ids(ids) : std::nullopt;
  if (!values || !at || at->ids.empty()) return values && at ? values : std::nullopt;
  PositionIds result;
  for (const int64_t i : at->ids) {
    if (i < 0 || i >= static_cast<int64_t>(values->ids.size())) return std::nullopt;
    result.ids.push_back(values->ids[static_cast<size_t>(i)]);
  }
  return result;
}

bool takes_first(const Node& slice) {
  const auto axes = slice.attrs().integers("axes"), steps = slice.attrs().integers("steps");
  return axes.size() == 1 && axes[0] == slice.input(0)->rank() - 1 && steps[0] == 1 && slice.attrs().shape("starts")[0] == Dim(0);
}

}  // namespace

bool PositionIds::counts() const {
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] != static_cast<int64_t>(i)) return false;
  return true;
}

std::optional<PositionIds> trace_position_ids(const Value& v) {
  if (v.producer() == nullptr || v.rank() == 0) return std::nullopt;
  const Node& node = *v.producer();
  switch (node.op()) {
    case Op::k_iota:
      if (node.attrs().shape("start")[0] != Dim(0) || node.attrs().integer("step") != 1) return std::nullopt;
      return PositionIds{};
    case Op::k_reshape:
    case Op::k_expand: {
      const Value& x = *node.input(0);
      if (!is_line(x) || (node.is(Op::k_reshape) && !is_line(v)) || x.shape().back() != v.shape().back()) return std::nullopt;
      return trace_position_ids(x);
    }
    case Op::k_slice: return takes_first(node) ? read_table(*node.input(0)) : std::nullopt;
    case Op::k_gather_elements: return along_last_axis(node, "axis", v.rank()) ? look_up(*node.input(0), *node.input(1)) : std::nullopt;
    case Op::k_gather: return node.input(0)->rank() == 1 ? look_up(*node.input(0), *node.input(1)) : std::nullopt;
    default: return std::nullopt;
  }
}

}  // namespace tenon::passes
