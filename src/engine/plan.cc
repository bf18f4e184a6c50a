#include "engine/plan.h"

#include <algorithm>

namespace tenon::engine {

int root_of(const Plan& plan, int value) {
  while (plan.values[static_cast<size_t>(value)].alias_of >= 0) value = plan.values[static_cast<size_t>(value)].alias_of;
  return value;
}

bool is_portable(const PlanCode& code) { return !code.arch.empty() && code.arch.back() >= '0' && code.arch.back() <= '9'; }

std::string describe_step(const Plan& plan, int step) {
  const PlanStep& s = plan.steps[static_cast<size_t>(step)];
  std::string text = fmt::format("step {}, {}", step, ir::op_name(s.op));
  if (!s.outputs.empty()) text += " %" + plan.values[static_cast<size_t>(s.outputs[0])].name;
  if (!s.origin.empty()) text += " (from " + s.origin + ")";
  return text;
}

std::vector<PluginUse> plugins_of(const Plan& plan) {
  std::vector<PluginUse> uses;
  for (const PlanStep& step : plan.steps) {
    if (step.op != ir::Op::k_plugin) continue;
    const std::string &name = step.attrs.text("operator"), &version = step.attrs.text("version");
    auto it = std::ranges::find_if(uses, [&](const PluginUse& u) { return u.name == name && u.version == version; });
    if (it == uses.end()) it = uses.insert(it, {name, version, step.attrs.text("library"), 0});
    ++it->steps;
  }
  return uses;
}

bool absorbs_previous(const PlanStep& step) {
  return std::ranges::any_of(step.kernels, [](const KernelChoice& k) { return k.absorbs; });
}

void compute_live_ranges(Plan& plan) {
  const auto root = [&](int value) -> PlanValue& { return plan.values[static_cast<size_t>(root_of(plan, value))]; };
  for (PlanValue& v : plan.values) v.first_step = v.last_step = -1;
  const int end = static_cast<int>(plan.steps.size());
  const auto live_at = [&](int value, int step) {
    if (value < 0) return;
    PlanValue& v = root(value);
    if (v.kind != PlanValue::Kind::kTemporary) return;
    if (v.first_step < 0) v.first_step = step;
    v.last_step = std::max(v.last_step, step);
  };
  for (int i = 0; i < end; ++i) {
    for (int v : plan.steps[static_cast<size_t>(i)].inputs) live_at(v, i);
    for (int v : plan.steps[static_cast<size_t>(i)].outputs) live_at(v, i);
    if (!absorbs_previous(plan.steps[static_cast<size_t>(i)])) continue;
    for (int v : plan.steps[static_cast<size_t>(i) - 1].inputs) live_at(v, i);
  }
  for (const PlanOutput& out : plan.outputs) {
    live_at(out.value, end);
    live_at(out.packed_value, end);
  }
  live_at(plan.row_offsets_value, end);
  // The runtime reads a symbol's value when the region of its step has ended.
  for (const PlanSymbol& s : plan.symbols) {
    if (s.value < 0) continue;
    for (const PlanRegion& r : plan.regions) {
      if (root(s.value).first_step >= r.begin && root(s.value).first_step < r.end) live_at(s.value, r.end - 1);
    }
  }
}

}  // namespace tenon::engine
