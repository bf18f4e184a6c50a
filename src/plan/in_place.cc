#include "plan/in_place.h"

#include <algorithm>

namespace tenon::plan {

using engine::PlanValue;

void reuse_in_place(engine::Plan& plan, const std::vector<const kernels::Kernel*>& kernels,
                    const std::vector<kernels::Problem>& problems) {
  const size_t count = plan.values.size();
  std::vector<int> root(count), last(count, -1);
  for (size_t v = 0; v < count; ++v) {
    const int alias = plan.values[v].alias_of;
    root[v] = alias >= 0 ? root[static_cast<size_t>(alias)] : static_cast<int>(v);
  }
  const int end = static_cast<int>(plan.steps.size());
  const auto used = [&](int v, int step) {
    if (v >= 0)
      last[static_cast<size_t>(root[static_cast<size_t>(v)])] =
          std::max(last[static_cast<size_t>(root[static_cast<size_t>(v)])], step);
  };
  for (int i = 0; i < end; ++i)
    for (int v : plan.steps[static_cast<size_t>(i)].inputs) used(v, i);
  for (int i = 1; i < end; ++i) {
    if (!engine::absorbs_previous(plan.steps[static_cast<size_t>(i)])) continue;
    for (int v : plan.steps[static_cast<size_t>(i) - 1].inputs) used(v, i);
  }
  for (const engine::PlanOutput& out : plan.outputs) {
    used(out.value, end);
    used(out.packed_value, end);
  }
  used(plan.row_offsets_value, end);
  for (const engine::PlanSymbol& s : plan.symbols) used(s.value, end);

  for (int i = 0; i < end; ++i) {
    const engine::PlanStep& step = plan.steps[static_cast<size_t>(i)];
    PlanValue& out = plan.values[static_cast<size_t>(step.outputs[0])];
    for (size_t j = 0; j < step.inputs.size(); ++j) {
      const int in = step.inputs[j];
      if (in < 0 || !kernels[static_cast<size_t>(i)]->in_place(problems[static_cast<size_t>(i)], static_cast<int>(j)))
        continue;
      const int r = root[static_cast<size_t>(in)];
      const PlanValue& source = plan.values[static_cast<size_t>(in)];
      const bool dies =
          plan.values[static_cast<size_t>(r)].kind == PlanValue::Kind::kTemporary && last[static_cast<size_t>(r)] == i;
      const bool read_once =
          std::ranges::count_if(step.inputs, [&](int v) { return v >= 0 && root[static_cast<size_t>(v)] == r; }) == 1;
      const bool same_place = source.place == out.place;
      const bool same_size = dtype_size(source.type.dtype) == dtype_size(out.type.dtype) &&
                             ir::numel(source.type.shape) == ir::numel(out.type.shape);
      if (!dies || !read_once || !same_size || !same_place) continue;
      out.alias_of = in;
      out.in_place = true;
      const int own = step.outputs[0];
      for (size_t v = 0; v < count; ++v)
        if (root[v] == own) root[v] = r;
      last[static_cast<size_t>(r)] = std::max(i, last[static_cast<size_t>(own)]);
      break;
    }
  }
}

}  // namespace tenon::plan
