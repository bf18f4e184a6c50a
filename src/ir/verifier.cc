#include <algorithm>
#include <set>
#include <unordered_set>

#include "ir/text.h"

namespace tenon::ir {

Status verify_structure(const Graph& graph) {
  std::unordered_set<const Value*> defined;
  std::set<std::string> names;
  const auto define = [&](const Value& v) -> Status {
    defined.insert(&v);
    if (!names.insert(v.name()).second) return error(ErrorCode::kInternal, "two values are named %{}", v.name());
    return {};
  };
  for (const auto& in : graph.inputs()) TENON_TRY(define(*in));
  for (const auto& node : graph.nodes()) {
    for (int i = 0; i < node->num_inputs(); ++i) {
      const Value* v = node->input(i);
      if (v == nullptr) continue;
      if (!defined.contains(v)) {
        return error(ErrorCode::kInternal, "{}: input {} (%{}) is not defined before it", node->describe(), i, v->name());
      }
      const Use use{node.get(), i};
      if (std::count(v->uses().begin(), v->uses().end(), use) != 1) {
        return error(ErrorCode::kInternal, "{}: the use list of %{} is wrong", node->describe(), v->name());
      }
    }
    for (int i = 0; i < node->num_outputs(); ++i) TENON_TRY(define(*node->output(i)));
  }
  for (const Output& out : graph.outputs()) {
    if (out.value == nullptr || !defined.contains(out.value)) {
      return error(ErrorCode::kInternal, "output \"{}\" has no value", out.name);
    }
  }
  for (const auto& [symbol, data] : graph.data_symbols) {
    if (!defined.contains(data.value)) return error(ErrorCode::kInternal, "symbol {} has no value", symbol);
  }
  return {};
}

}  // namespace tenon::ir
