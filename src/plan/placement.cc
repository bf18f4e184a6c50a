#include "plan/placement.h"

#include <algorithm>

namespace tenon::plan {
namespace {

bool computes_floats(const ir::Node& node) {
  for (int i = 0; i < node.num_outputs(); ++i)
    if (is_float(node.output(i)->dtype())) return true;
  return false;
}

}  // namespace

bool stays_on_host(const ir::Node& node) {
  if (computes_floats(node)) return false;
  const ir::Value& y = *node.output();
  const auto reads_it = [](const ir::Use& use) { return computes_floats(*use.node) && !use.node->is(ir::Op::k_reshape); };
  return !node.is(ir::Op::k_expand) || y.uses().empty() || y.is_output() || !std::ranges::all_of(y.uses(), reads_it);
}

}  // namespace tenon::plan
